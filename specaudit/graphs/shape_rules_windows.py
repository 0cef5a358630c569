"""Shapes of convolutions and pools: one window sliding over each spatial axis."""

from collections.abc import Sequence
from math import floor

import numpy as np

from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import Dimension, Shape, Site, Type, by_channel, size, unknown


@shape_rule("Conv", "ConvInteger", "DeformConv")
@shape_rule("FusedConv", domain="com.microsoft")
def convolution(site: Site) -> Sequence[Type]:
    """N and the number of filters, then the windows along each axis."""
    integer = site.node.op == "ConvInteger"
    if site.node.op != "ConvInteger":
        by_channel(site, site.shape(1), 0, 3 if site.node.op == "DeformConv" else 2)
    return [Type("int32" if integer else site.dtype(0), _convolved(site, 0, 1))]


@shape_rule("QLinearConv")
@shape_rule("QLinearConv", domain="com.microsoft")
def quantized_convolution(site: Site) -> Sequence[Type]:
    """The same, with the zero point's dtype."""
    if site.integer("channels_last", 0):
        return [Type(site.dtype(7))]
    by_channel(site, site.shape(3), 0, 8)
    return [Type(site.dtype(7), _convolved(site, 0, 3))]


def _convolved(site: Site, data: int, filters: int) -> Shape:
    shape, weight = site.shape(data), site.shape(filters)
    if shape is None or weight is None:
        rank = len(shape or weight or ())
        return unknown(rank) if rank else None
    if len(shape) != len(weight) or len(shape) < 3:
        site.refuse(f"an input of rank {len(shape)} and filters of rank {len(weight)}")
    group = site.integer("group", 1)
    channels, each = shape[1], weight[1]
    if isinstance(channels, int) and isinstance(each, int) and channels != each * group:
        site.refuse(f"{channels} channels for {group} groups of {each}")
    if group < 1 or (isinstance(weight[0], int) and weight[0] % group):
        site.refuse(f"{weight[0]} filters in {group} groups")
    kernel: Sequence[Dimension] = site.integers("kernel_shape") or weight[2:]
    return (shape[0], weight[0], *_slid(site, shape[2:], kernel))


@shape_rule("MaxPool", "AveragePool", "LpPool")
def pool(site: Site) -> Sequence[Type]:
    """Channels kept, the windows along each axis."""
    shape, kernel = site.shape(0), site.integers("kernel_shape")
    out: Shape = None
    if shape is not None and kernel is not None:
        if len(shape) != len(kernel) + 2:
            site.refuse(f"a window of {len(kernel)} axes over a tensor of rank {len(shape)}")
        out = (*shape[:2], *_slid(site, shape[2:], kernel))
    return [Type(site.dtype(0), out), Type("int64", out)]


def _slid(
    site: Site, spatial: Sequence[Dimension], kernel: Sequence[Dimension]
) -> tuple[Dimension, ...]:
    """Number of positions of the window along each axis."""
    axes = len(spatial)
    strides = _per_axis(site, "strides", axes, 1)
    dilations = _per_axis(site, "dilations", axes, 1)
    pads = site.integers("pads") or (0,) * (2 * axes)
    if len(kernel) != axes or len(pads) != 2 * axes:
        site.refuse(f"attributes for {len(kernel)} axes, the input has {axes}")
    mode = site.text("auto_pad", "NOTSET")
    out: list[Dimension] = []
    for axis, (n, k) in enumerate(zip(spatial, kernel, strict=True)):
        padding = pads[axis] + pads[axes + axis] if mode == "NOTSET" else 0
        out.append(_positions(site, n, k, strides[axis], dilations[axis], padding, pads[axis]))
    return tuple(out)


def _positions(
    site: Site, n: Dimension, k: Dimension, stride: int, dilation: int, padding: int, begin: int
) -> Dimension:
    same = site.text("auto_pad", "NOTSET").startswith("SAME")
    if same and dilation != 1 and site.node.op.endswith("Pool"):
        return None  # onnxruntime pads as if not dilated, so that fewer windows fit than are said
    if same and stride == 1:
        return n
    if not isinstance(n, int):
        kept = isinstance(k, int) and stride == 1 and padding == dilation * (k - 1)
        return n if kept else None
    if same:
        return -(-n // stride)
    if not isinstance(k, int):
        return None
    room = n + padding - (dilation * (k - 1) + 1)
    if room < 0:
        site.refuse(f"a window of {dilation * (k - 1) + 1} over {n} + {padding} elements")
    if not site.integer("ceil_mode", 0):
        return room // stride + 1
    positions = -(-room // stride) + 1
    started = (positions - 1) * stride >= n + begin
    # since opset 19 a window that starts in the end padding does not count
    return positions - 1 if started else positions


def _per_axis(site: Site, name: str, axes: int, default: int) -> tuple[int, ...]:
    given = site.integers(name) or (default,) * axes
    if len(given) != axes:
        site.refuse(f"{name} for {len(given)} axes, the input has {axes}")
    if min(given, default=1) < 1:
        site.refuse(f"{name} {given}")
    return given


@shape_rule("ConvTranspose")
def transposed_convolution(site: Site) -> Sequence[Type]:
    """The size of the input that a convolution would make this one's input of."""
    shape, weight = site.shape(0), site.shape(1)
    if shape is None or weight is None:
        rank = len(shape or weight or ())
        return [Type(site.dtype(0), unknown(rank) if rank else None)]
    if len(shape) != len(weight) or len(shape) < 3:
        site.refuse(f"an input of rank {len(shape)} and filters of rank {len(weight)}")
    if isinstance(shape[1], int) and isinstance(weight[0], int) and shape[1] != weight[0]:
        site.refuse(f"{shape[1]} channels for {weight[0]}")
    axes = len(shape) - 2
    filters = weight[1]
    channels = filters * site.integer("group", 1) if isinstance(filters, int) else None
    by_channel(site, (channels,), 0, 2)
    given = site.integers("output_shape")
    if given is not None:
        return [Type(site.dtype(0), (shape[0], channels, *given[-axes:]))]
    kernel: Sequence[Dimension] = site.integers("kernel_shape") or weight[2:]
    strides = _per_axis(site, "strides", axes, 1)
    dilations = _per_axis(site, "dilations", axes, 1)
    extra = site.integers("output_padding") or (0,) * axes
    pads = site.integers("pads") or (0,) * (2 * axes)
    if len(kernel) != axes or len(pads) != 2 * axes or len(extra) != axes:
        site.refuse(f"attributes for another number of axes than {axes}")
    mode = site.text("auto_pad", "NOTSET")
    out: list[Dimension] = []
    for axis, (n, k) in enumerate(zip(shape[2:], kernel, strict=True)):
        reach = dilations[axis] * (k - 1) + 1 if isinstance(k, int) else None
        cut = pads[axis] + pads[axes + axis] if mode == "NOTSET" else 0
        out.append(_grown(n, strides[axis], reach, extra[axis] - cut, same=mode.startswith("SAME")))
    return [Type(site.dtype(0), (shape[0], channels, *out))]


def _grown(n: Dimension, stride: int, reach: int | None, more: int, *, same: bool) -> Dimension:
    if not isinstance(n, int) or reach is None:
        return None
    if same:  # where the window does not reach the next one, ONNX and onnxruntime differ
        return n * stride if reach >= stride else None
    return stride * (n - 1) + reach + more


@shape_rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
@shape_rule("QLinearGlobalAveragePool", domain="com.microsoft")
def global_pool(site: Site) -> Sequence[Type]:
    """Every spatial axis reduced to one."""
    shape = site.shape(0)
    if shape is None or site.integer("channels_last", 0):
        return [Type(site.dtype(0))]
    return [Type(site.dtype(0), (*shape[:2], *(1,) * (len(shape) - 2)))]


@shape_rule("MaxUnpool")
def unpool(site: Site) -> Sequence[Type]:
    """The size before the pool, or the one given."""
    shape, kernel = site.shape(0), site.integers("kernel_shape")
    if site.has(2):
        return [Type(site.dtype(0), site.ints(2))]
    if shape is None or kernel is None:
        return [Type(site.dtype(0))]
    axes = len(kernel)
    strides = _per_axis(site, "strides", axes, 1)
    pads = site.integers("pads") or (0,) * (2 * axes)
    out = [
        (n - 1) * strides[i] - pads[i] - pads[axes + i] + kernel[i] if isinstance(n, int) else None
        for i, n in enumerate(shape[2:])
    ]
    return [Type(site.dtype(0), (*shape[:2], *out))]


@shape_rule("MaxRoiPool", "RoiAlign")
def regions(site: Site) -> Sequence[Type]:
    """One small image for each region."""
    shape, rois = site.shape(0), site.shape(1)
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    count = rois[0] if rois else None
    pooled: Sequence[Dimension]
    if site.node.op == "RoiAlign":
        pooled = (site.integer("output_height", 1), site.integer("output_width", 1))
    else:
        pooled = site.integers("pooled_shape") or unknown(2)
    return [Type(site.dtype(0), (count, channels, *pooled))]


@shape_rule("CausalConvWithState")
def causal_convolution(site: Site) -> Sequence[Type]:
    """The input's shape, and the last k - 1 positions as a state."""
    shape, weight = site.shape(0), site.shape(1)
    state: Shape = site.shape(3)
    if shape is not None and weight is not None and isinstance(weight[-1], int):
        state = (*shape[:2], weight[-1] - 1)
    return [site.type(0), Type(site.dtype(0), state)]


@shape_rule("Resize", "Upsample")
def resize(site: Site) -> Sequence[Type]:
    """The sizes given, or the dimensions scaled and rounded down."""
    shape = site.shape(0)
    if shape is None:
        return [Type(site.dtype(0))]
    old = site.node.op == "Upsample" or site.opset < 11
    attribute = site.node.attributes.get("scales")
    axes = site.integers("axes") or tuple(range(len(shape)))
    sizes = None if old else site.ints(3)
    if sizes is not None and len(sizes) == len(axes):
        return [Type(site.dtype(0), _fitted(site, shape, axes, sizes))]
    factors: Sequence[float] | None = attribute if isinstance(attribute, tuple) else None
    given = site.known(1 if old else 2)
    if factors is None and given is not None and given.size == len(axes):
        factors = [float(item) for item in given.ravel().tolist()]
    if factors is None or len(factors) != len(axes):
        open_axes = {axis % len(shape) for axis in axes}
        kept = tuple(None if i in open_axes else item for i, item in enumerate(shape))
        return [Type(site.dtype(0), kept)]
    out = list(shape)
    for axis, factor in zip(axes, factors, strict=True):
        whole = shape[axis]
        found = scaled_lengths(whole, factor) if isinstance(whole, int) else ()
        out[axis] = whole if factor == 1 else found[0] if len(found) == 1 else None
    return [Type(site.dtype(0), tuple(out))]


def scaled_lengths(whole: int, factor: float) -> tuple[int, ...]:
    """The lengths that an axis may have: 5 times 1.4 is 7 in single precision, else 6."""
    exact, rounded = whole * factor, float(np.float32(whole) * np.float32(factor))
    return tuple({floor(exact), floor(rounded)})


def _fitted(
    site: Site, shape: tuple[Dimension, ...], axes: Sequence[int], sizes: Sequence[Dimension]
) -> Shape:
    out = list(shape)
    policy = site.text("keep_aspect_ratio_policy", "stretch")
    pairs = [(axis, shape[axis], wanted) for axis, wanted in zip(axes, sizes, strict=True)]
    if policy == "stretch":
        for axis, _, wanted in pairs:
            out[axis] = wanted
        return tuple(out)
    ratios = [w / n for _, n, w in pairs if isinstance(n, int) and isinstance(w, int) and n]
    if len(ratios) < len(pairs):
        return tuple(None if axis in axes else item for axis, item in enumerate(shape))
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    for axis, n, _ in pairs:
        out[axis] = floor(ratio * n + 0.5) if isinstance(n, int) else None
    return tuple(out)


@shape_rule("Col2Im")
def col2im(site: Site) -> Sequence[Type]:
    """Channels divided by the block, and the image's size."""
    shape, image, block = site.shape(0), site.ints(1), site.ints(2)
    if image is None:  # as many axes as the vector has elements
        length = site.shape(1)
        axes = length[0] if length and isinstance(length[0], int) and length[0] < 64 else None
        image = None if axes is None else unknown(axes)
    if shape is None or image is None:
        return [Type(site.dtype(0))]
    area = size(block)
    channels = shape[1]
    each = channels // area if isinstance(channels, int) and area else None
    return [Type(site.dtype(0), (shape[0], each, *image))]
