"""Shapes of operations whose output is made new: constants, casts, indices, quantised values."""

from collections.abc import Sequence
from math import ceil

from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.graphs.shape_rules_layout import product
from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import Dimension, Shape, Site, Type, axis_of, unknown
from specaudit.model import Weight

LITERALS = {"value_float": "float32", "value_int": "int64", "value_string": "string"}


@shape_rule("Constant")
def constant(site: Site) -> Sequence[Type]:
    """As the attribute is."""
    for name, value in site.node.attributes.items():
        if isinstance(value, Weight):
            return [Type(value.dtype, value.shape)]
        if name in LITERALS:
            return [Type(LITERALS[name], ())]
        if name.removesuffix("s") in LITERALS and isinstance(value, tuple):
            return [Type(LITERALS[name.removesuffix("s")], (len(value),))]
    return []


@shape_rule("Shape")
def shape(site: Site) -> Sequence[Type]:
    """As many numbers as there are dimensions."""
    dimensions = site.shape(0)
    if dimensions is None:
        return [Type("int64", (None,))]
    end = site.node.attributes.get("end")
    part = dimensions[site.integer("start", 0) : end if isinstance(end, int) else None]
    return [Type("int64", (len(part),))]


@shape_rule("Size", "SequenceLength")
def count(site: Site) -> Sequence[Type]:
    """A number."""
    return [Type("int64", ())]


@shape_rule("Cast", "BitCast")
def cast(site: Site) -> Sequence[Type]:
    """The input's shape, the dtype named."""
    return [Type(ELEMENT_TYPES.get(site.integer("to", 0)), site.shape(0))]


@shape_rule("CastLike")
def cast_like(site: Site) -> Sequence[Type]:
    """The first input's shape, the second's dtype."""
    return [Type(site.dtype(1), site.shape(0))]


@shape_rule("ConstantOfShape")
def constant_of_shape(site: Site) -> Sequence[Type]:
    """The shape given."""
    value = site.tensor("value")
    wanted = site.ints(0)
    if wanted is None:
        length = site.shape(0)
        rank = length[0] if length and isinstance(length[0], int) else None
        wanted = unknown(rank) if rank is not None and rank <= 64 else None
    return [Type(value.dtype if value else "float32", wanted)]


@shape_rule("EyeLike")
def eye_like(site: Site) -> Sequence[Type]:
    """The input's shape."""
    dtype = site.node.attributes.get("dtype")
    return [
        Type(ELEMENT_TYPES.get(dtype) if isinstance(dtype, int) else site.dtype(0), site.shape(0))
    ]


@shape_rule("Range")
def range_(site: Site) -> Sequence[Type]:
    """As many numbers as there are steps from start to limit."""
    ends = [site.known(index) for index in range(3)]
    length: Dimension = None
    if all(item is not None and item.size == 1 for item in ends):
        start, limit, step = (item.item() for item in ends if item is not None)
        if step:
            span = (limit - start) / step if site.dtype(0) in FLOATS else -((start - limit) // step)
            length = max(0, ceil(span)) if abs(span) < 2**62 else None
    elif (limits := site.ints(1)) and site.whole(0) == (0,) and site.whole(2) == (1,):
        length = limits[0]
    return [Type(site.dtype(0), (length,))]


FLOATS = {"float16", "float32", "float64", "bfloat16"}


@shape_rule("RandomNormal", "RandomUniform")
def random(site: Site) -> Sequence[Type]:
    """The attribute's shape."""
    return [Type(ELEMENT_TYPES.get(site.integer("dtype", 1)), site.integers("shape"))]


@shape_rule("RandomNormalLike", "RandomUniformLike", "Bernoulli")
def random_like(site: Site) -> Sequence[Type]:
    """The input's shape."""
    dtype = site.node.attributes.get("dtype")
    return [
        Type(ELEMENT_TYPES.get(dtype) if isinstance(dtype, int) else site.dtype(0), site.shape(0))
    ]


@shape_rule("Multinomial")
def multinomial(site: Site) -> Sequence[Type]:
    """Samples for each row."""
    rows = site.shape(0)
    drawn = site.integer("sample_size", 1)
    return [Type(ELEMENT_TYPES.get(site.integer("dtype", 6)), (rows[0] if rows else None, drawn))]


@shape_rule("HannWindow", "HammingWindow", "BlackmanWindow")
def window(site: Site) -> Sequence[Type]:
    """As many numbers as said."""
    length = site.ints(0)
    dtype = ELEMENT_TYPES.get(site.integer("output_datatype", 1))
    return [Type(dtype, (length[0] if length else None,))]


@shape_rule("MelWeightMatrix")
def mel_weights(site: Site) -> Sequence[Type]:
    """Spectrogram bins by mel bins."""
    mels, points = site.whole(0), site.whole(1)
    rows = points[0] // 2 + 1 if points else None
    dtype = ELEMENT_TYPES.get(site.integer("output_datatype", 1))
    return [Type(dtype, (rows, mels[0] if mels else None))]


@shape_rule("OneHot")
def one_hot(site: Site) -> Sequence[Type]:
    """The index's shape with the depth put in at `axis`."""
    indices, depth = site.shape(0), site.known(1)
    if indices is None:
        return [Type(site.dtype(2))]
    axis = axis_of(site.integer("axis", -1), len(indices) + 1, site)
    deep = int(depth.ravel()[0]) if depth is not None and depth.size == 1 else None
    return [Type(site.dtype(2), (*indices[:axis], deep, *indices[axis:]))]


@shape_rule("NonZero")
def nonzero(site: Site) -> Sequence[Type]:
    """A column for each element that is not zero."""
    shape_ = site.shape(0)
    return [Type("int64", (None if shape_ is None else len(shape_), None))]


@shape_rule("TopK")
def top_k(site: Site) -> Sequence[Type]:
    """One axis cut to k."""
    shape_ = site.shape(0)
    wanted = (site.integer("k", 0),) if site.opset < 10 else site.ints(1)
    if shape_ is None:
        return [Type(site.dtype(0)), Type("int64")]
    axis = axis_of(site.integer("axis", -1), len(shape_), site)
    out = (*shape_[:axis], wanted[0] if wanted else None, *shape_[axis + 1 :])
    return [Type(site.dtype(0), out), Type("int64", out)]


@shape_rule("Unique")
def unique(site: Site) -> Sequence[Type]:
    """An unknown number of slices, and their indices."""
    shape_, axis = site.shape(0), site.node.attributes.get("axis")
    out: Shape = (None,)
    if isinstance(axis, int):
        out = None
        if shape_ is not None:
            at = axis_of(axis, len(shape_), site)
            out = (*shape_[:at], None, *shape_[at + 1 :])
    whole = None if shape_ is None else product(shape_)
    if isinstance(axis, int) and shape_ is not None:
        whole = shape_[axis_of(axis, len(shape_), site)]
    index = Type("int64", (None,))
    return [Type(site.dtype(0), out), index, Type("int64", (whole,)), index]


@shape_rule("Compress")
def compress(site: Site) -> Sequence[Type]:
    """An axis, or the flattened tensor, cut to what is marked."""
    shape_, axis, marks = site.shape(0), site.node.attributes.get("axis"), site.known(1)
    kept = None if marks is None else int(marks.astype(bool).sum())
    if not isinstance(axis, int):
        return [Type(site.dtype(0), (kept,))]
    if shape_ is None:
        return [Type(site.dtype(0))]
    at = axis_of(axis, len(shape_), site)
    return [Type(site.dtype(0), (*shape_[:at], kept, *shape_[at + 1 :]))]


@shape_rule("Pad")
def pad(site: Site) -> Sequence[Type]:
    """Each dimension with what is put before and behind it."""
    shape_ = site.shape(0)
    if shape_ is None:
        return [Type(site.dtype(0))]
    pads: Sequence[Dimension] | None
    if site.opset < 11:
        pads = site.integers("pads" if site.opset >= 2 else "paddings")
    else:
        pads = site.ints(1)
    axes = site.whole(3) if site.has(3) else tuple(range(len(shape_)))
    if pads is None or axes is None:
        return [Type(site.dtype(0), unknown(len(shape_)))]
    if len(pads) != 2 * len(axes):
        site.refuse(f"{len(pads)} pads for {len(axes)} axes")
    out = list(shape_)
    for index, axis in enumerate(axes):
        at = axis_of(axis, len(shape_), site)
        before, after, whole = pads[index], pads[len(axes) + index], shape_[at]
        if before == 0 and after == 0:
            continue
        numbers = [item for item in (before, whole, after) if isinstance(item, int)]
        out[at] = sum(numbers) if len(numbers) == 3 else None
        if len(numbers) == 3 and sum(numbers) < 0:
            site.refuse(f"dimension {at} would have {sum(numbers)} elements")
    return [Type(site.dtype(0), tuple(out))]


@shape_rule("CenterCropPad")
def center_crop_pad(site: Site) -> Sequence[Type]:
    """The sizes given, along the axes given."""
    shape_, wanted = site.shape(0), site.ints(1)
    if shape_ is None:
        return [Type(site.dtype(0))]
    axes = site.integers("axes") or tuple(range(len(shape_)))
    out = list(shape_)
    for index, axis in enumerate(axes):
        out[axis_of(axis, len(shape_), site)] = wanted[index] if wanted else None
    return [Type(site.dtype(0), tuple(out))]


@shape_rule("DepthToSpace", "SpaceToDepth")
def blocks(site: Site) -> Sequence[Type]:
    """Channels and pixels exchanged by blocks."""
    shape_, b = site.shape(0), site.integer("blocksize", 1)
    if shape_ is None:
        return [Type(site.dtype(0), unknown(4))]
    if len(shape_) != 4 or b < 1:
        site.refuse(f"blocks of {b} in a tensor of rank {len(shape_)}")
    n, c, h, w = shape_
    if site.node.op == "DepthToSpace":
        out = (n, _over(c, b * b), _over(h, b, up=True), _over(w, b, up=True))
    else:
        out = (n, _over(c, b * b, up=True), _over(h, b), _over(w, b))
    return [Type(site.dtype(0), out)]


def _over(a: Dimension, b: int, *, up: bool = False) -> Dimension:
    if b == 1:
        return a
    return (a * b if up else a // b) if isinstance(a, int) else None


@shape_rule("QuantizeLinear")
@shape_rule("QuantizeLinear", domain="com.microsoft")
def quantize(site: Site) -> Sequence[Type]:
    """The input's shape; the zero point's dtype, or the one named, or uint8."""
    named = ELEMENT_TYPES.get(site.integer("output_dtype", 0))
    return [Type(site.dtype(2) or named or "uint8", site.shape(0))]


@shape_rule("DequantizeLinear")
@shape_rule("DequantizeLinear", domain="com.microsoft")
def dequantize(site: Site) -> Sequence[Type]:
    """The input's shape, the scale's dtype or the one named."""
    named = ELEMENT_TYPES.get(site.integer("output_dtype", 0))
    return [Type(named or site.dtype(1), site.shape(0))]


@shape_rule("DynamicQuantizeLinear")
def dynamic_quantize(site: Site) -> Sequence[Type]:
    """The input's shape as uint8, with scale and zero point."""
    return [Type("uint8", site.shape(0)), Type("float32", ()), Type("uint8", ())]


@shape_rule("NonMaxSuppression")
def non_max_suppression(site: Site) -> Sequence[Type]:
    """An unknown number of index triples."""
    return [Type("int64", (None, 3))]


@shape_rule("StringNormalizer")
def normalized_text(site: Site) -> Sequence[Type]:
    """Text of the same rank, some of it left out."""
    shape_ = site.shape(0)
    dropped = site.node.attributes.get("stopwords")
    last = None if dropped else (shape_[-1] if shape_ else None)
    return [Type("string", None if not shape_ else (*shape_[:-1], last))]


@shape_rule("RegexFullMatch")
def matched_text(site: Site) -> Sequence[Type]:
    """A bool for each string."""
    return [Type("bool", site.shape(0))]


@shape_rule("StringSplit")
def split_text(site: Site) -> Sequence[Type]:
    """An unknown number of parts for each string, and how many."""
    shape_ = site.shape(0)
    parts = None if shape_ is None else (*shape_, None)
    return [Type("string", parts), Type("int64", shape_)]


@shape_rule("TfIdfVectorizer")
def tf_idf(site: Site) -> Sequence[Type]:
    """A vector for each row."""
    shape_, indexes = site.shape(0), site.integers("ngram_indexes")
    width = max(indexes) + 1 if indexes else None
    return [Type("float32", None if shape_ is None else (*shape_[:-1], width))]


@shape_rule("ImageDecoder")
def image(site: Site) -> Sequence[Type]:
    """Height, width and channels."""
    channels = 1 if site.text("pixel_format", "RGB") == "Grayscale" else 3
    return [Type("uint8", (None, None, channels))]
