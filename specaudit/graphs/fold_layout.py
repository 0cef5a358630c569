"""Constants moved about: no element is computed, so that every dtype goes through."""

from collections.abc import Sequence

import numpy as np

from specaudit.graphs.fold import Inputs, folds
from specaudit.graphs.shapes import is_deterministic
from specaudit.graphs.site import Array, Site, size
from specaudit.model import Weight

LITERALS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@folds("Constant", shrinks=True)
def constant(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Whichever attribute the node holds its value in."""
    for name, value in site.node.attributes.items():
        if isinstance(value, Weight):
            return [value.read()]
        if name in LITERALS:
            return [np.array(value, dtype=LITERALS[name])]
    return None


@folds("Identity", "Dropout", data=(0,), moves=True)
def identity(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """The value itself; of Dropout only outside of training."""
    return None if inputs[0] is None or not is_deterministic(site) else [inputs[0]]


@folds("Shape", data=())
def shape(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Dimensions as far as they are known, between the attributes start and end."""
    dimensions = site.shape(0)
    if dimensions is None:
        return None
    end = site.node.attributes.get("end")
    part = dimensions[site.integer("start", 0) : end if isinstance(end, int) else None]
    return [np.array(part, dtype=object).reshape(len(part))]


@folds("Size", data=())
def count(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Number of elements."""
    number = size(site.shape(0))
    return None if number is None else [np.array(number, dtype=np.int64)]


@folds("Reshape", data=(0,), moves=True)
def reshape(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """A 0 keeps the dimension (unless allowzero), a -1 takes what is left."""
    value = inputs[0]
    target = site.integers("shape") if site.opset < 5 else listed(inputs[1])
    if value is None or target is None:
        return None
    keep = not site.integer("allowzero", 0)
    sizes = [value.shape[i] if n == 0 and keep else n for i, n in enumerate(target)]
    return [value.reshape(sizes)]


@folds("Flatten", data=(0,), moves=True)
def flatten(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Two dimensions, split before `axis`."""
    value, axis = inputs[0], site.integer("axis", 1)
    if value is None or not -value.ndim <= axis <= value.ndim:
        return None
    axis += value.ndim if axis < 0 else 0
    return [value.reshape(int(np.prod(value.shape[:axis])), int(np.prod(value.shape[axis:])))]


@folds("Transpose", data=(0,), moves=True)
def transpose(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Axes permuted; reversed where none are given."""
    return None if inputs[0] is None else [np.transpose(inputs[0], site.integers("perm"))]


@folds("Squeeze", data=(0,), moves=True)
def squeeze(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Dimensions of one element taken out."""
    axes = axes_given(site, inputs, from_opset=13)
    return None if inputs[0] is None else [np.squeeze(inputs[0], axes)]


@folds("Unsqueeze", data=(0,), moves=True)
def unsqueeze(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Dimensions of one element put in."""
    axes = axes_given(site, inputs, from_opset=13)
    if inputs[0] is None or axes is None:
        return None
    return [np.expand_dims(inputs[0], axes)]


@folds("Concat", moves=True)
def concat(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Joined along `axis`."""
    present = [item for item in inputs if item is not None]
    if len(present) < len(inputs):
        return None
    return [np.concatenate(present, axis=site.integer("axis", 1 if site.opset < 4 else 0))]


@folds("Split", data=(0,), moves=True)
def split(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Cut along `axis`, in given sizes or in equal ones with a smaller last."""
    value, axis, parts = inputs[0], site.integer("axis", 0), len(site.node.outputs)
    if value is None:
        return None
    sizes = (
        site.integers("split")
        if site.opset < 13
        else listed(inputs[1])
        if len(inputs) > 1
        else None
    )
    if sizes is None:
        each = -(-value.shape[axis] // parts)
        return np.array_split(value, [each * i for i in range(1, parts)], axis=axis)
    if sum(sizes) != value.shape[axis] or min(sizes, default=0) < 0:
        return None
    return np.split(value, np.cumsum(sizes)[:-1], axis=axis)


@folds("Slice", data=(0,), moves=True)
def slice_(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Python's slices, axis by axis."""
    value = inputs[0]
    if value is None:
        return None
    cuts = [slice(None)] * value.ndim
    for axis, start, end, step in zip(*_slices(site, inputs, value.ndim), strict=True):
        cuts[axis] = slice(start, end, step)
    return [value[tuple(cuts)]]


def _slices(site: Site, inputs: Inputs, rank: int) -> tuple[Sequence[int], ...]:
    if site.opset < 10:
        starts, ends = site.integers("starts") or (), site.integers("ends") or ()
        axes, steps = site.integers("axes"), None
    else:
        starts, ends = listed(inputs[1]) or (), listed(inputs[2]) or ()
        axes = listed(inputs[3]) if len(inputs) > 3 else None
        steps = listed(inputs[4]) if len(inputs) > 4 else None
    return axes or range(len(starts)), starts, ends, steps or (1,) * len(starts)


@folds("Gather", data=(0,), moves=True)
def gather(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Elements picked along one axis."""
    if inputs[0] is None or inputs[1] is None:
        return None
    return [np.take(inputs[0], inputs[1].astype(np.int64), site.integer("axis", 0))]


@folds("GatherElements", data=(0,), moves=True)
def gather_elements(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Elements picked one by one along an axis."""
    if inputs[0] is None or inputs[1] is None:
        return None
    axis, index = site.integer("axis", 0), inputs[1].astype(np.int64)
    index = np.where(index < 0, index + inputs[0].shape[axis], index)
    area = tuple(
        slice(None) if dim == axis % index.ndim else slice(0, n)
        for dim, n in enumerate(index.shape)
    )
    return [np.take_along_axis(inputs[0][area], index, axis)]


@folds("GatherND", data=(0,), moves=True)
def gather_nd(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Slices picked by index vectors."""
    value, index, batch = inputs[0], inputs[1], site.integer("batch_dims", 0)
    if value is None or index is None:
        return None
    grids = np.ogrid[tuple(slice(0, n) for n in value.shape[:batch])]
    spread = [grid.reshape(grid.shape[:batch] + (1,) * (index.ndim - 1 - batch)) for grid in grids]
    picks = [index[..., i].astype(np.int64) for i in range(index.shape[-1])]
    return [np.asarray(value[(*spread, *picks)])]


@folds("Expand", data=(0,), moves=True)
def expand(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Broadcast both ways with a shape."""
    target = listed(inputs[1])
    if inputs[0] is None or target is None:
        return None
    wanted = np.broadcast_shapes(inputs[0].shape, target)
    return [np.broadcast_to(inputs[0], wanted).copy()]


@folds("Tile", data=(0,), moves=True)
def tile(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Repeated along each axis."""
    repeats = listed(inputs[1])
    if inputs[0] is None or repeats is None or len(repeats) != inputs[0].ndim:
        return None
    return [np.tile(inputs[0], repeats)]


@folds("Where", data=(1, 2), moves=True)
def where(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Picked from two by a condition."""
    condition, yes, no = inputs
    if condition is None or yes is None or no is None:
        return None
    return [np.where(condition.astype(np.bool_), yes, no)]


@folds("Compress", data=(0,), moves=True, shrinks=True)
def compress(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """The slices that a condition marks."""
    if inputs[0] is None or inputs[1] is None:
        return None
    axis, marks = site.node.attributes.get("axis"), inputs[1].astype(np.bool_)
    return [np.compress(marks, inputs[0], axis if isinstance(axis, int) else None)]


@folds("Trilu", data=(0,), moves=True)
def trilu(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """The part above or below a diagonal."""
    if inputs[0] is None:
        return None
    shift = int(inputs[1].ravel()[0]) if len(inputs) > 1 and inputs[1] is not None else 0
    shift = max(-(1 << 40), min(1 << 40, shift))
    return [np.triu(inputs[0], shift) if site.integer("upper", 1) else np.tril(inputs[0], shift)]


@folds("DepthToSpace", data=(0,), moves=True)
def depth_to_space(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Channels dealt out over blocks of pixels."""
    if inputs[0] is None:
        return None
    n, c, h, w = inputs[0].shape
    b = site.integer("blocksize", 1)
    if site.text("mode", "DCR") == "DCR":
        blocks = inputs[0].reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = inputs[0].reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return [blocks.reshape(n, c // b**2, h * b, w * b)]


@folds("SpaceToDepth", data=(0,), moves=True)
def space_to_depth(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Blocks of pixels made channels."""
    if inputs[0] is None:
        return None
    n, c, h, w = inputs[0].shape
    b = site.integer("blocksize", 1)
    order = (0, 3, 5, 1, 2, 4) if site.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = inputs[0].reshape(n, c, h // b, b, w // b, b).transpose(order)
    return [blocks.reshape(n, c * b**2, h // b, w // b)]


def axes_given(site: Site, inputs: Inputs, from_opset: int) -> tuple[int, ...] | None:
    """Axes, an attribute before `from_opset` and the second input since."""
    if site.opset < from_opset:
        return site.integers("axes")
    return listed(inputs[1]) if len(inputs) > 1 else None


def listed(value: Array | None) -> tuple[int, ...] | None:
    """Whole numbers of a vector."""
    return None if value is None else tuple(int(item) for item in value.ravel())
