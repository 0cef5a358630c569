"""Shapes of the com.microsoft operations that onnxruntime's optimisers write into files."""

from collections.abc import Sequence

from specaudit.graphs.shape_rules_elementwise import broadcast
from specaudit.graphs.shape_rules_linear import multiplied
from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import Dimension, Shape, Site, Type, axis_of, unknown

MICROSOFT = "com.microsoft"


@shape_rule("BiasGelu", "FastGelu", "QuickGelu", "Gelu", "QLinearSigmoid", "QLinearLeakyRelu",
            "RotaryEmbedding", "GroupNorm", "BiasDropout", domain=MICROSOFT)  # fmt: skip
def like_input(site: Site) -> Sequence[Type]:
    """The first input's type."""
    return [site.type(0)]


@shape_rule("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def quantized_arithmetic(site: Site) -> Sequence[Type]:
    """Both operands broadcast together."""
    return [Type(site.dtype(0), broadcast(site.shape(0), site.shape(3), site))]


@shape_rule("QLinearMatMul", domain=MICROSOFT)
def quantized_matmul(site: Site) -> Sequence[Type]:
    """As in ai.onnx."""
    return [Type(site.dtype(7), multiplied(site.shape(0), site.shape(3), site))]


@shape_rule("DynamicQuantizeMatMul", "MatMulIntegerToFloat", domain=MICROSOFT)
def float_matmul(site: Site) -> Sequence[Type]:
    """A matrix product that comes out in the scale's dtype."""
    return [Type(site.dtype(2), multiplied(site.shape(0), site.shape(1), site))]


@shape_rule("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", domain=MICROSOFT)
def packed_matmul(site: Site) -> Sequence[Type]:
    """The last dimension becomes N."""
    shape = site.shape(0)
    width: Dimension = site.integer("N", 0) or None
    return [Type(site.dtype(0), None if not shape else (*shape[:-1], width))]


@shape_rule("EmbedLayerNormalization", domain=MICROSOFT)
def embedding(site: Site) -> Sequence[Type]:
    """A vector for each token, and a mask's length for each text."""
    ids, table = site.shape(0), site.shape(2)
    tokens = ids or unknown(2)
    out = (*tokens, table[1] if table else None)
    return [Type(site.dtype(2), out), Type("int32", tokens[:1]), Type(site.dtype(2), out)]


@shape_rule("Attention", "QAttention", domain=MICROSOFT)
def packed_attention(site: Site) -> Sequence[Type]:
    """As wide as the packed weight's third part."""
    x, weight = site.shape(0), site.shape(1)
    sizes = site.integers("qkv_hidden_sizes")
    third = weight[1] if weight is not None and len(weight) == 2 else None
    width: Dimension = third // 3 if isinstance(third, int) else None
    dtype = site.dtype(3) if site.node.op == "QAttention" else site.dtype(0)
    return [Type(dtype, None if x is None else (*x[:2], sizes[2] if sizes else width))]


@shape_rule("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(site: Site) -> Sequence[Type]:
    """As many rows as the query's, as wide as the values'."""
    q, v = site.shape(0), site.shape(2)
    if q is None or len(q) not in {3, 5}:
        return [Type(site.dtype(0))]
    width: Dimension = None
    if len(q) == 5:  # query, key and value packed: (batch, rows, heads, 3, width of a head)
        width = _product(q[2], q[4])
    elif v is not None:
        width = v[2] if len(v) == 3 else _product(v[1], v[3])
    elif (kv := site.shape(1)) is not None and len(kv) == 5:
        width = _product(kv[2], kv[4])
    return [Type(site.dtype(0), (*q[:2], width))]


@shape_rule("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(site: Site) -> Sequence[Type]:
    """The query's shape, without the keys and values that may be packed with it."""
    q, heads = site.shape(0), site.integer("num_heads", 0)
    if q is None or len(q) != 3:
        return [Type(site.dtype(0))]
    width = q[2]
    if not site.has(1):
        every = heads + 2 * site.integer("kv_num_heads", 0)
        width = width // every * heads if isinstance(width, int) and every else None
    return [Type(site.dtype(0), (*q[:2], width))]


@shape_rule("QLinearConcat", domain=MICROSOFT)
def quantized_concat(site: Site) -> Sequence[Type]:
    """Every third input from the third on, joined."""
    shapes = [site.shape(index) for index in range(2, len(site.node.inputs), 3)]
    if any(shape is None or len(shape) != len(shapes[0] or ()) for shape in shapes):
        return [Type(site.dtype(1))]
    rows: list[tuple[Dimension, ...]] = [shape for shape in shapes if shape is not None]
    out = list(rows[0])
    axis = axis_of(site.integer("axis", 0), len(out), site)
    numbers = [row[axis] for row in rows]
    whole = [item for item in numbers if isinstance(item, int)]
    out[axis] = sum(whole) if len(whole) == len(numbers) else None
    return [Type(site.dtype(1), tuple(out))]


@shape_rule("QGemm", domain=MICROSOFT)
def quantized_gemm(site: Site) -> Sequence[Type]:
    """Rows of A and columns of B."""
    a: Shape = site.shape(0) or unknown(2)
    b: Shape = site.shape(3) or unknown(2)
    rows = (a or unknown(2))[1 if site.integer("transA", 0) else 0]
    columns = (b or unknown(2))[0 if site.integer("transB", 0) else 1]
    return [Type(site.dtype(8) or "float32", (rows, columns))]


def _product(a: Dimension, b: Dimension) -> Dimension:
    return a * b if isinstance(a, int) and isinstance(b, int) else None
