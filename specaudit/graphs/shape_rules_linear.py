"""Shapes of products, reductions and normalisations."""

from collections.abc import Sequence

from specaudit.graphs.bind import contradict
from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.graphs.shape_rules_elementwise import broadcast
from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import (
    Dimension,
    Shape,
    Site,
    Type,
    axis_of,
    by_channel,
    no_larger,
    unknown,
)


@shape_rule("MatMul", "MatMulInteger")
@shape_rule("FusedMatMul", "TransposeMatMul", domain="com.microsoft")
def matmul(site: Site) -> Sequence[Type]:
    """NumPy's matmul; batch dimensions broadcast."""
    a, b = site.shape(0), site.shape(1)
    if site.integer("transBatchA", 0) or site.integer("transBatchB", 0):
        return [Type(site.dtype(0))]
    if site.integer("transA", 0) and a is not None and len(a) > 1:
        a = (*a[:-2], a[-1], a[-2])
    if site.integer("transB", 0) and b is not None and len(b) > 1:
        b = (*b[:-2], b[-1], b[-2])
    dtype = "int32" if site.node.op == "MatMulInteger" else site.dtype(0)
    return [Type(dtype, multiplied(a, b, site))]


@shape_rule("QLinearMatMul")
def quantized_matmul(site: Site) -> Sequence[Type]:
    """The same, with the zero point's dtype."""
    return [Type(site.dtype(7), multiplied(site.shape(0), site.shape(3), site))]


def multiplied(a: Shape, b: Shape, site: Site) -> Shape:
    """Shape of a matrix product; a vector is a row on the left, a column on the right."""
    if a is None or b is None:
        return None
    if not a or not b:
        site.refuse("a scalar is no operand")
    left = a if len(a) > 1 else (1, *a)
    right = b if len(b) > 1 else (*b, 1)
    inner, other = left[-1], right[-2]
    if isinstance(inner, int) and isinstance(other, int) and inner != other:
        site.refuse(f"inner dimensions {inner} and {other}")
    batch = broadcast(left[:-2], right[:-2], site)
    rows = left[-2:-1] if len(a) > 1 else ()
    columns = right[-1:] if len(b) > 1 else ()
    return (*(batch or ()), *rows, *columns)


@shape_rule("Gemm")
@shape_rule("FusedGemm", domain="com.microsoft")
def gemm(site: Site) -> Sequence[Type]:
    """Rows of A and columns of B, each transposed if said so."""
    a, b = site.shape(0), site.shape(1)
    for shape in (a, b):
        if shape is not None and len(shape) != 2 and site.opset >= 7:
            site.refuse(f"an operand of rank {len(shape)}, not 2")
    left = a[::-1] if a and site.integer("transA", 0) else a
    right = b[::-1] if b and site.integer("transB", 0) else b
    if left and right:
        inner, other = left[-1], right[0]
        if isinstance(inner, int) and isinstance(other, int) and inner != other:
            site.refuse(f"inner dimensions {inner} and {other}")
    return [Type(site.dtype(0), (left[0] if left else None, right[1] if right else None))]


@shape_rule("Einsum")
def einsum(site: Site) -> Sequence[Type]:
    """Each letter's dimension, in the order of the output's letters."""
    terms, arrow, result = site.text("equation", "").replace(" ", "").partition("->")
    shapes = [site.shape(index) for index in range(len(site.node.inputs))]
    sizes: dict[str, Dimension] = {}
    dots: Shape = ()
    parts = terms.split(",")
    if len(parts) != len(shapes):
        site.refuse(f"{len(parts)} terms for {len(shapes)} operands")
    for term, shape in zip(parts, shapes, strict=True):
        if shape is None:
            return [
                Type(site.dtype(0), None if "..." in terms or not arrow else unknown(len(result)))
            ]
        letters, extra = _lettered(term, shape, site)
        dots = broadcast(dots, extra, site)
        for letter, dimension in letters:
            known = sizes.setdefault(letter, dimension)
            sizes[letter] = _joined(known, dimension, site)
    if not arrow:
        single = [c for c in sorted(sizes) if terms.count(c) == 1]
        result = "..." * ("..." in terms) + "".join(single)
    before, ellipsis, after = result.partition("...")
    out = [sizes.get(c) for c in before] + list(dots or ()) * bool(ellipsis)
    return [Type(site.dtype(0), (*out, *(sizes.get(c) for c in after)))]


def _lettered(
    term: str, shape: tuple[Dimension, ...], site: Site
) -> tuple[list[tuple[str, Dimension]], tuple[Dimension, ...]]:
    before, ellipsis, after = term.partition("...")
    spare = len(shape) - len(before) - len(after)
    if spare < 0 or (spare and not ellipsis):
        site.refuse(f"the term {term!r} for a tensor of rank {len(shape)}")
    pairs = [
        *zip(before, shape, strict=False),
        *zip(after, shape[len(before) + spare :], strict=True),
    ]
    return pairs, shape[len(before) : len(before) + spare]


def _joined(p: Dimension, q: Dimension, site: Site) -> Dimension:
    joined = broadcast((p,), (q,), site)
    return joined[0] if joined else None


REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@shape_rule(*(f"Reduce{name}" for name in REDUCTIONS))
def reduction(site: Site) -> Sequence[Type]:
    """Axes taken out, or kept as ones; all of them where none is given."""
    shape = site.shape(0)
    since = 13 if site.node.op == "ReduceSum" else 18
    given = site.node.attributes.get("axes") if site.opset < since else site.has(1)
    axes = site.integers("axes") if site.opset < since else site.whole(1)
    keep = site.integer("keepdims", 1)
    if shape is None:
        return [Type(site.dtype(0), None if given or keep else ())]
    if given and axes is None:
        return [Type(site.dtype(0), unknown(len(shape)) if keep else None)]
    if not axes and site.integer("noop_with_empty_axes", 0):
        return [site.type(0)]
    gone = {axis_of(axis, len(shape), site) for axis in axes or range(len(shape))}
    return [Type(site.dtype(0), reduced(shape, gone, keep=bool(keep)))]


def reduced(shape: tuple[Dimension, ...], gone: set[int], *, keep: bool) -> Shape:
    """A shape with some axes taken out, or kept as ones."""
    if keep:
        return tuple(1 if axis in gone else item for axis, item in enumerate(shape))
    return tuple(item for axis, item in enumerate(shape) if axis not in gone)


@shape_rule("ArgMax", "ArgMin")
def argument(site: Site) -> Sequence[Type]:
    """One axis reduced to an index."""
    shape = site.shape(0)
    if shape is None:
        return [Type("int64")]
    axis = axis_of(site.integer("axis", 0), len(shape), site)
    return [Type("int64", reduced(shape, {axis}, keep=bool(site.integer("keepdims", 1))))]


@shape_rule("Det")
def determinant(site: Site) -> Sequence[Type]:
    """The two matrix axes gone."""
    shape = site.shape(0)
    return [Type(site.dtype(0), None if shape is None else shape[:-2])]


@shape_rule("BatchNormalization")
def batch_normalization(site: Site) -> Sequence[Type]:
    """The input's type, and in training mode the statistics'."""
    shape = site.shape(0)
    if site.opset >= 9 or site.integer("spatial", 1):
        by_channel(site, shape, 1, 1, 2, 3, 4)
    elif shape is not None:  # a number for each element of a sample
        for index in range(1, 5):
            own = site.shape(index)
            if own is not None and contradict(own, shape[1:]):
                site.refuse(f"input {index + 1} has not the shape of a sample")
    return [site.type(0), site.type(3), site.type(4), site.type(3), site.type(4)]


@shape_rule("InstanceNormalization")
def instance_normalization(site: Site) -> Sequence[Type]:
    """The input's type."""
    by_channel(site, site.shape(0), 1, 1, 2)
    return [site.type(0)]


@shape_rule("GroupNormalization")
def group_normalization(site: Site) -> Sequence[Type]:
    """The input's type; before opset 21 the scales are those of the groups."""
    groups = None if site.opset >= 21 else (None, site.integer("num_groups", 1))
    by_channel(site, groups or site.shape(0), 1, 1, 2)
    return [site.type(0)]


@shape_rule("LayerNormalization")
@shape_rule("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization",
            domain="com.microsoft")  # fmt: skip
@shape_rule("SimplifiedLayerNormalization", "RMSNormalization")
def layer_normalization(site: Site) -> Sequence[Type]:
    """The input's type; the statistics have ones from `axis` on."""
    shape = site.shape(0)
    stash = ELEMENT_TYPES.get(site.integer("stash_type", 1))
    if shape is None:
        return [site.type(0), Type(stash), Type(stash)]
    axis = axis_of(site.integer("axis", -1), len(shape), site)
    no_larger(site, shape, 1, *((2,) if site.node.op == "LayerNormalization" else ()))
    statistics = Type(stash, (*shape[:axis], *(1,) * (len(shape) - axis)))
    return [site.type(0), statistics, statistics]


@shape_rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def skip_layer_normalization(site: Site) -> Sequence[Type]:
    """The input's type, the statistics', and the sum's."""
    return [site.type(0), Type("float32"), Type("float32"), site.type(0)]


@shape_rule("Dropout")
def dropout(site: Site) -> Sequence[Type]:
    """The input's type and a mask."""
    mask = site.dtype(0) if site.opset < 10 else "bool"
    return [site.type(0), Type(mask, site.shape(0))]


@shape_rule("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def loss(site: Site) -> Sequence[Type]:
    """A number, or one for each label."""
    each = site.text("reduction", "mean") == "none"
    shape = site.shape(0)
    per_label = site.shape(1)
    if per_label is None and shape is not None:
        per_label = (shape[0], *shape[2:])
    return [Type(site.dtype(0), per_label if each else ()), site.type(0)]


@shape_rule("DFT")
def dft(site: Site) -> Sequence[Type]:
    """Complex numbers in the last axis; half the frequencies if onesided."""
    shape = site.shape(0)
    if shape is None:
        return [Type(site.dtype(0))]
    axis: Dimension = site.integer("axis", 1)
    if site.opset >= 20:
        given = site.whole(2)
        axis = given[0] if given else None if site.has(2) else -2
    one, inverse = site.integer("onesided", 0), site.integer("inverse", 0)
    last: Dimension = 1 if one and inverse else 2
    if not isinstance(axis, int):
        same = not site.has(1) and not one
        kept = shape[:-1] if same else unknown(len(shape) - 1)
        return [Type(site.dtype(0), (*kept, last))]
    axis = axis_of(axis, len(shape), site)
    length = site.ints(1)
    points = length[0] if length else None if site.has(1) else shape[axis]
    if one and not inverse:
        points = points // 2 + 1 if isinstance(points, int) else None
    elif one and inverse and not site.has(1):
        points = 2 * (points - 1) if isinstance(points, int) else None
    return [Type(site.dtype(0), (*shape[:axis], points, *shape[axis + 1 : -1], last))]


@shape_rule("STFT")
def stft(site: Site) -> Sequence[Type]:
    """Batch, frames, frequencies, complex."""
    shape, window = site.shape(0), site.shape(2)
    length, step = site.whole(3), site.whole(1)
    points: Dimension = length[0] if length else window[0] if window else None
    if shape is None:
        return [Type(site.dtype(0), unknown(4))]
    frames: Dimension = None
    if isinstance(shape[1], int) and isinstance(points, int) and step and step[0]:
        frames = (shape[1] - points) // step[0] + 1
    half = points // 2 + 1 if isinstance(points, int) else None
    bins = half if site.integer("onesided", 1) else points
    return [Type(site.dtype(0), (shape[0], frames, bins, 2))]


@shape_rule("AffineGrid")
def affine_grid(site: Site) -> Sequence[Type]:
    """A point for each pixel of the size given."""
    wanted = site.ints(1)
    if wanted is None:
        length = site.shape(1)
        axes = length[0] - 2 if length and isinstance(length[0], int) else None
        return [Type(site.dtype(0), (*unknown(axes + 1), axes) if axes in {2, 3} else None)]
    return [Type(site.dtype(0), (wanted[0], *wanted[2:], len(wanted) - 2))]


@shape_rule("GridSample")
def grid_sample(site: Site) -> Sequence[Type]:
    """Channels at the grid's points."""
    shape, grid = site.shape(0), site.shape(1)
    if shape is None or grid is None:
        return [Type(site.dtype(0))]
    return [Type(site.dtype(0), (*shape[:2], *grid[1:-1]))]
