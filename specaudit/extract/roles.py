"""What a constant is to a node that applies no weight, or to which it is not the weight."""

from dataclasses import dataclass

from specaudit.extract.skipping import is_float
from specaudit.model import Node, Weight

_INPUT = {1: "scale of the input", 2: "zero point of the input"}
_OUTPUT = {6: "scale of the output", 7: "zero point of the output"}
_TABLE: tuple[tuple[str, dict[int, str]], ...] = (
    ("Conv ConvTranspose FusedConv Gemm FusedGemm com.microsoft.Attention", {2: "bias"}),
    ("Attention", {3: "mask", 4: "past keys", 5: "past values"}),
    ("LayerNormalization InstanceNormalization GroupNormalization GroupNorm", {2: "bias"}),
    ("BatchNormalization", {2: "bias", 3: "running statistics", 4: "running statistics"}),
    ("SkipLayerNormalization", {3: "bias", 4: "bias"}),
    ("SkipSimplifiedLayerNormalization", {3: "bias"}),
    ("GroupQueryAttention", dict.fromkeys((7, 8), "rotations of positions")),
    ("EmbedLayerNormalization", {6: "bias"}),
    ("BiasGelu FastGelu", {1: "bias"}),
    ("MultiHeadAttention", {3: "bias"}),
    ("LSTM GRU RNN DynamicQuantizeLSTM", {
        3: "bias", 4: "sequence lengths", 5: "initial state", 6: "initial state",
        7: "peepholes, applied elementwise",
    }),
    ("MatMulNBits", {5: "bias"}),
    ("DynamicQuantizeMatMul", {4: "bias"}),
    ("MatMulIntegerToFloat", {2: _INPUT[1], 4: _INPUT[2], 6: "bias"}),
    ("MatMulInteger ConvInteger", {2: _INPUT[2]}),
    ("QAttention", {2: "bias", 3: _INPUT[1], 6: _INPUT[2]}),
    ("QLinearConv", {**_INPUT, **_OUTPUT, 8: "bias"}),
    ("QLinearMatMul", {**_INPUT, **_OUTPUT}),
    ("QGemm", {**_INPUT, 6: "bias", 7: _OUTPUT[6], 8: _OUTPUT[7]}),
    ("QuantizeLinear DequantizeLinear",
     {1: "scale of an activation", 2: "zero point of an activation"}),
    ("PRelu", {1: "slopes of an activation, not a linear operator"}),
    ("RotaryEmbedding", dict.fromkeys((1, 2, 3), "rotations of positions")),
)  # fmt: skip
_ROLES = {op: roles for ops, roles in _TABLE for op in ops.split()}
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow", "Sum", "Mean", "Mod"}
_CHOICE = {"Max", "Min", "Where", "And", "Or", "Equal", "Greater", "GreaterOrEqual", "Less",
           "LessOrEqual"}  # fmt: skip
_LOOKUPS = {"Gather", "GatherND", "GatherElements"}
_JOINED = {"Concat", "ScatterND", "ScatterElements", "OneHot"}

# With a dynamic shape or index these are not folded: a table of positions is often sliced so.
_MOVES = {
    "Slice", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Tile", "Split",
    "Identity", "Cast", "CastLike",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """Why a tensor is no operator there; whether that is known; whether infinities belong."""

    reason: str
    covered: bool = True
    infinite: bool = False


def role(weight: Weight, node: Node, place: int) -> Role:
    """Return what a tensor is to a node at one of its inputs.

    A matrix that goes where no rule makes an operator of it is a hole in the audit.
    """
    roles = _ROLES.get(f"{node.domain}.{node.op}".lstrip(".")) or _ROLES.get(node.op, {})
    if place in roles:
        return Role(roles[place], infinite=roles[place] == "mask")
    if node.op in _ARITHMETIC | _CHOICE:
        what = "broadcast scale or shift" if is_float(weight.dtype) else "integer constant"
        # Attention masks add minus infinity, or choose it.
        mask = is_matrix(weight) or weight.size == 1 or node.op in _CHOICE
        return Role(f"{what}, operand of {node.op}", infinite=mask)
    if node.op in _JOINED:
        return Role(f"joined to activations by {node.op}")
    if not is_float(weight.dtype) and not _could_be_quantised(weight) and node.op in _LOOKUPS:
        return Role("integer index table, not a weight")
    if not is_matrix(weight) and not _could_be_quantised(weight):
        return Role(f"constant operand of {node.op}", infinite=True)
    return Role(f"operand {place} of {node.op}, where no rule makes an operator of it", False)


def carries(node: Node, place: int) -> bool:
    """Whether a node only moves the values of an input: what it gives decides what they are."""
    return not node.domain and node.op in _MOVES and place == 0


def is_matrix(weight: Weight) -> bool:
    """Whether a tensor could be an operator: floating point, and two dimensions of any length."""
    return is_float(weight.dtype) and sum(size > 1 for size in weight.shape) >= 2


def _could_be_quantised(weight: Weight) -> bool:
    return weight.dtype.endswith(("int4", "int8")) and len(weight.shape) > 1
