"""How many inputs and outputs the operations of ONNX take, and which may be left out.

A node that lacks what it must have, or has more than its operation knows, means nothing: a
runtime refuses the file, and a bound of it would be a bound of no function.
"""

from functools import cache
from typing import NoReturn

from specaudit.errors import UnreadableModel
from specaudit.model import Node

# Inputs ``>`` outputs, each a letter: x must be there, ? may be left out, * and + may come
# again and again. ``@11`` says from which opset on.
# From the schemas of ONNX 1.20, to which a test holds it; what is newer is not checked.
SIGNATURES = {
    "+>+": "Scan@9",
    "+>x": "Concat Einsum Max Mean Min SequenceConstruct Sum",
    ">x": "Constant RandomNormal RandomUniform SequenceEmpty",
    "?+>+": "Scan",
    "?>x": "Optional OptionalHasElement@18",
    "??*>+": "Loop@11",
    "??+>+": "Loop",
    "x*>+": "SequenceMap",
    "x>+": "If Split@2",
    "x>x": """
        Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Bernoulli BitCast
        BitwiseNot BlackmanWindow Cast Ceil Celu Clip ConcatFromSequence ConstantOfShape Cos
        Cosh DepthToSpace Det Elu Erf Exp EyeLike Flatten Floor Gelu GlobalAveragePool
        GlobalLpPool GlobalMaxPool HammingWindow HannWindow HardSigmoid HardSwish Hardmax
        Identity ImageDecoder IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization
        LpPool MaxPool MeanVarianceNormalization Mish Multinomial Neg NonZero Not
        OptionalGetElement OptionalHasElement Pad RandomNormalLike RandomUniformLike
        Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Round
        Selu SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
        Softsign SpaceToDepth Sqrt Squeeze StringNormalizer Swish Tan Tanh TfIdfVectorizer
        ThresholdedRelu Transpose Unsqueeze Upsample
    """,
    "x>x?": "Dropout MaxPool@8",
    "x>x???": "Unique",
    "x>xx": "StringSplit TopK",
    "x>xxx": "DynamicQuantizeLinear",
    "x?>+": "Split Split@13",
    "x?>x": """
        DFT ReduceL1@18 ReduceL2@18 ReduceLogSum@18 ReduceLogSumExp@18 ReduceMax@18
        ReduceMean@18 ReduceMin@18 ReduceProd@18 ReduceSum@13 ReduceSumSquare@18
        SequenceErase SplitToSequence Squeeze@13 Trilu
    """,
    "x??>x": "Clip@11 DFT@20",
    "x??>x?": "Dropout@12",
    "x???>x": "Resize@13",
    "xx>x": """
        Add AffineGrid And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad
        Compress CumProd CumSum Div Equal Expand Gather GatherElements GatherND Greater
        GreaterOrEqual GridSample Less LessOrEqual MatMul MaxRoiPool Mod Mul Or PRelu Pow
        RMSNormalization Reshape@5 Resize ReverseSequence SequenceAt StringConcat Sub SwiGLU
        Tile@6 Unsqueeze@13 Upsample@9 Xor
    """,
    "xx>x?": "SimplifiedLayerNormalization",
    "xx>xx": "TopK@10",
    "xx?>x": """
        Conv ConvTranspose DequantizeLinear Gemm@11 MaxUnpool NegativeLogLikelihoodLoss
        Pad@11 QuantizeLinear SequenceInsert TensorScatter
    """,
    "xx?>x?": "SoftmaxCrossEntropyLoss",
    "xx?>x??": "LayerNormalization",
    "xx??>x": "ConvInteger MatMulInteger Pad@18 STFT",
    "xx??>xx": "CausalConvWithState",
    "xx???>x": "NonMaxSuppression",
    "xxx>x": """
        Col2Im Gemm GroupNormalization InstanceNormalization OneHot Range RoiAlign Scatter
        ScatterElements ScatterND Tile Where
    """,
    "xxx?>x": "Resize@11 RotaryEmbedding",
    "xxx??>x": "DeformConv Slice@10",
    "xxx???>??": "GRU@3 RNN",
    "xxx???>?x": "GRU",
    "xxx???>x???": "Attention",
    "xxx???>xx": "LinearAttention",
    "xxx????>x???": "Attention@24",
    "xxx?????>???": "LSTM",
    "xxxxx>x": "MelWeightMatrix",
    "xxxxx>x??": "BatchNormalization@14",
    "xxxxx>x????": "BatchNormalization",
    "xxxxxxxx>x": "QLinearMatMul",
    "xxxxxxxx?>x": "QLinearConv",
}  # fmt: skip


def check(node: Node, opset: int) -> None:
    """Refuse a node of ONNX's own that has other operands than its operation.

    Raises
    ------
    UnreadableModel
        It lacks an input that its operation must have, or has more inputs or outputs.
    """
    signature = None if node.domain else _at(node.op, opset)
    if signature is None:
        return
    inputs, _, outputs = signature.partition(">")
    for what, names, letters in (
        ("input", node.inputs, inputs),
        ("output", node.outputs, outputs),
    ):
        given = max((place for place, name in enumerate(names, 1) if name), default=0)
        if given > len(letters) and letters[-1:] not in ("*", "+"):
            _refuse(node, f"takes {len(letters)} {what}s at most, this one has {given}")
    for place, letter in enumerate(inputs):  # a result that nobody wants may be left out
        if letter == "x" and not any(node.inputs[place : place + 1]):
            _refuse(node, f"must have input {place + 1}, this one lacks it")


def _refuse(node: Node, problem: str) -> NoReturn:
    raise UnreadableModel(
        f"{node.op} {problem}",
        where=node.name,
        help="no runtime takes this graph: export the model anew",
    )


@cache
def _at(op: str, opset: int) -> str | None:
    """The signature of an operation in a version of ONNX, or None where nothing is known."""
    known = [(since, letters) for since, letters in _versions().get(op, ()) if since <= opset]
    return max(known)[1] if known else None


@cache
def _versions() -> dict[str, list[tuple[int, str]]]:
    """All the signatures that each operation has had, with the opsets they came in."""
    found: dict[str, list[tuple[int, str]]] = {}
    for letters, names in SIGNATURES.items():
        for entry in names.split():
            op, _, since = entry.partition("@")
            found.setdefault(op, []).append((int(since or 0), letters))
    return found
