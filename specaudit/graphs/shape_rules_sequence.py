"""Shapes of recurrent layers, of attention, and of ONNX's sequences of tensors."""

from collections.abc import Sequence
from functools import reduce

from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import (
    UNKNOWN,
    Dimension,
    Shape,
    Site,
    Type,
    axis_of,
    common,
    unknown,
)


@shape_rule("RNN", "GRU", "LSTM")
@shape_rule("DynamicQuantizeLSTM", domain="com.microsoft")
def recurrent(site: Site) -> Sequence[Type]:
    """All hidden states, the last one, and the last cell."""
    x = site.shape(0) or unknown(3)
    if len(x) != 3:
        site.refuse(f"an input of rank {len(x)}, not 3")
    r = site.shape(2)
    hidden: Dimension = site.integer("hidden_size", 0) or None
    if hidden is None and r is not None and len(r) == 3:
        hidden = r[1] if site.node.domain else r[2]
    directions = 2 if site.text("direction", "forward") == "bidirectional" else 1
    batch_first = site.integer("layout", 0)
    steps, batch = (x[1], x[0]) if batch_first else (x[0], x[1])
    last: Shape = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
    whole: Shape = (steps, directions, batch, hidden)
    if batch_first:
        whole = (batch, steps, directions, hidden)
    dtype = site.dtype(0)
    return [Type(dtype, whole), Type(dtype, last), Type(dtype, last)]


@shape_rule("Attention")
def attention(site: Site) -> Sequence[Type]:
    """As many rows as the query's, as wide as the value's heads."""
    q, k, v, past = (site.shape(index) for index in (0, 1, 2, 4))
    dtype = site.dtype(0)
    if q is None or k is None or v is None:
        return [Type(dtype), Type(site.dtype(1)), Type(site.dtype(2)), Type(dtype)]
    if len(q) == 3:
        heads: Dimension = site.integer("q_num_heads", 0) or None
        inner: Dimension = site.integer("kv_num_heads", 0) or None
        width, deep = _over(v[-1], inner), _over(k[-1], inner)
        rows, batch, keys = q[1], q[0], k[1]
        out: Shape = (batch, rows, _times(heads, width))
    else:
        batch, heads, rows, deep = q
        inner, keys, width = k[1], k[2], v[-1]
        out = (batch, heads, rows, width)
    total = keys
    if site.has(4):
        before = past[2] if past is not None and len(past) == 4 else None
        total = before + keys if isinstance(before, int) and isinstance(keys, int) else None
    return [
        Type(dtype, out),
        Type(site.dtype(1), (batch, inner, total, deep)),
        Type(site.dtype(2), (batch, inner, total, width)),
        Type(dtype, (batch, heads, rows, total)),
    ]


@shape_rule("LinearAttention")
def linear_attention(site: Site) -> Sequence[Type]:
    """The packed output, and the state by key and value heads."""
    q, k, v = site.shape(0), site.shape(1), site.shape(2)
    heads, inner = site.integer("q_num_heads", 0) or None, site.integer("kv_num_heads", 0) or None
    if q is None or k is None or v is None:
        return [Type(site.dtype(0), unknown(3)), Type(site.dtype(0), unknown(4))]
    deep, width = _over(k[-1], inner), _over(v[-1], inner)
    state = Type(site.dtype(3) or site.dtype(0), (q[0], inner, deep, width))
    return [Type(site.dtype(0), (*q[:2], _times(heads, width))), state]


def _over(a: Dimension, b: Dimension) -> Dimension:
    return a // b if isinstance(a, int) and isinstance(b, int) and b else None


def _times(a: Dimension, b: Dimension) -> Dimension:
    return a * b if isinstance(a, int) and isinstance(b, int) else None


@shape_rule("SequenceConstruct")
def sequence(site: Site) -> Sequence[Type]:
    """A sequence of what all elements have in common."""
    return [Type(element=reduce(common, map(site.type, range(len(site.node.inputs)))))]


@shape_rule("SequenceEmpty")
def empty_sequence(site: Site) -> Sequence[Type]:
    """A sequence of anything of the dtype."""
    return [Type(element=Type(ELEMENT_TYPES.get(site.integer("dtype", 1))))]


@shape_rule("SequenceInsert")
def inserted(site: Site) -> Sequence[Type]:
    """What the elements and the new one have in common."""
    element = site.type(0).element
    return [Type(element=common(element, site.type(1)) if element else None)]


@shape_rule("SequenceErase", "Optional", "OptionalGetElement")
def same_sequence(site: Site) -> Sequence[Type]:
    """As the input is."""
    return [site.type(0)]


@shape_rule("OptionalHasElement")
def has_element(site: Site) -> Sequence[Type]:
    """A bool."""
    return [Type("bool", ())]


@shape_rule("SequenceAt")
def element_of(site: Site) -> Sequence[Type]:
    """What the elements have in common."""
    return [site.type(0).element or UNKNOWN]


@shape_rule("SplitToSequence")
def split_to_sequence(site: Site) -> Sequence[Type]:
    """Slices along an axis."""
    shape, sizes = site.shape(0), site.ints(1)
    if shape is None:
        return [Type(element=Type(site.dtype(0)))]
    axis = axis_of(site.integer("axis", 0), len(shape), site)
    if not site.has(1):
        kept: tuple[Dimension, ...] = (1,) if site.integer("keepdims", 1) else ()
        return [Type(element=Type(site.dtype(0), (*shape[:axis], *kept, *shape[axis + 1 :])))]
    scalar, whole = site.shape(1) == (), shape[axis]
    part: Dimension = sizes[0] if sizes and len(set(sizes)) == 1 else None
    if scalar and not (
        isinstance(whole, int) and isinstance(part, int) and part and not whole % part
    ):
        part = None
    return [Type(element=Type(site.dtype(0), (*shape[:axis], part, *shape[axis + 1 :])))]


@shape_rule("ConcatFromSequence")
def concat_from_sequence(site: Site) -> Sequence[Type]:
    """The elements' shape, one axis long as all of them together."""
    element = site.type(0).element or UNKNOWN
    if element.shape is None:
        return [Type(element.dtype)]
    new = site.integer("new_axis", 0)
    axis = axis_of(site.integer("axis", 0), len(element.shape) + new, site)
    return [Type(element.dtype, (*element.shape[:axis], None, *element.shape[axis + 1 - new :]))]
