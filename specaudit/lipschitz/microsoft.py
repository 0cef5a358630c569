"""The operations of com.microsoft that onnxruntime's optimisers and quantisers write."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, Magnitude, round_up
from specaudit.lipschitz import activations, convolution, linear, ranges
from specaudit.lipschitz.attention import Heads, gains
from specaudit.lipschitz.context import Context, attribute, gated
from specaudit.lipschitz.normalization import inverse_root, normalised
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule, unary
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MS = "com.microsoft"
_FUSED = {"": 1.0, "Relu": 1.0, "Tanh": 1.0, "Sigmoid": 0.25, "Clip": 1.0}
_NO_EPSILON = Infinite("G", "the slope at 0 is unbounded: there is no epsilon")


@rule("FusedConv", domain=_MS)
def fused_convolution(node: Node, context: Context) -> Effect:
    """A convolution, a sum where there is a fourth operand, and an activation."""
    parameters = node.attributes.get("activation_params")
    name = attribute(node, "activation", "")
    slope = _FUSED.get(name)
    if name == "LeakyRelu" and isinstance(parameters, tuple):
        slope = max(1.0, abs(float(parameters[0])))
    if slope is None:
        raise Missing(f"the fused activation {name} is not modelled")
    plain = Node(node.name, "Conv", node.inputs[:3], node.outputs, node.attributes)
    effect = convolution.convolution(plain, context)
    gain = effect.gains[0]
    if isinstance(gain, Infinite):
        return effect
    found: dict[int, Gain] = {0: gain * magnitude(slope)}
    if len(node.inputs) > 3:
        found[3] = magnitude(slope)
    return Effect(found)


@rule("FusedGemm", domain=_MS)
def fused_gemm(node: Node, context: Context) -> Effect:
    """A Gemm and an activation."""
    name = attribute(node, "activation", "")
    slope = _FUSED.get(name)
    if name == "LeakyRelu":
        slope = max(1.0, abs(attribute(node, "activation_alpha", 0.01)))
    if slope is None:
        raise Missing(f"the fused activation {name} is not modelled")
    effect = linear.gemm(node, context)
    return Effect(
        {
            index: gain if isinstance(gain, Infinite) else gain * magnitude(slope)
            for index, gain in effect.gains.items()
        }
    )


@rule("FusedMatMul", "TransposeMatMul", domain=_MS)
def fused_matmul(node: Node, context: Context) -> Effect:
    """A product with transposes of the last two axes and a factor."""
    alpha = abs(attribute(node, "alpha", 1.0))
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        raise Missing("batches transposed inside FusedMatMul are not modelled")
    found: dict[int, Gain] = {}
    for index, flip in ((0, "transB"), (1, "transA")):
        name, other = node.inputs[index], node.inputs[1 - index]
        if not context.live(name):
            continue
        value = context.constant(other)
        if value is not None and value.ndim == 2:
            matrix = value.T if attribute(node, flip, 0) else value
            layer = linear.matrix_layer(other, matrix, node)
            found[index] = context.norm(layer) * magnitude(alpha)
            continue
        size = ranges.times(linear.spectral_range(other, context), alpha)
        words = f"product with {other}, which is not known to be bounded"
        bound = gated(magnitude(size), Infinite("B", words))
        copies = linear.batch_copies(name, node.outputs[0], context)
        found[index] = bound if isinstance(bound, Infinite) else bound * copies
    return Effect(found)


@rule("Gelu", "BiasGelu", "FastGelu", "QuickGelu", domain=_MS)
def gelu(node: Node, context: Context) -> Effect:
    """GELU in its three forms, with a bias added first where there is one."""
    known = context.facts(node.inputs[0])
    if len(node.inputs) > 1 and node.inputs[1]:
        known = ranges.add(known, Facts(*_ends(context.facts(node.inputs[1]))))
    if node.op == "QuickGelu":
        effect = activations.swish_effect(known, attribute(node, "alpha", 1.702))
    else:
        effect = activations.gelu_effect(known, tanh=node.op == "FastGelu")
    slope = effect.gains[0]
    found: dict[int, Gain] = {0: slope}
    if len(node.inputs) > 1 and context.live(node.inputs[1]) and isinstance(slope, Magnitude):
        found[1] = slope * root(context.copies(node.inputs[1], node.outputs[0]))
    return Effect(found, facts=effect.facts)


def _ends(known: Facts) -> tuple[float, float]:
    return known.lo, known.hi


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=_MS)
def skip_layer_normalization(node: Node, context: Context) -> tuple[Effect, ...]:
    """The constant of the norm, for each of the two that are added before it."""
    centred = node.op == "SkipLayerNormalization"
    epsilon = attribute(node, "epsilon", 1e-5 if not centred else 1e-12)
    gamma = context.facts(node.inputs[2])
    last = 4 if centred else 3
    beta = context.facts(node.inputs[3]).magnitude if centred and node.inputs[3:4] else 0.0
    if centred and (len(node.inputs) < 4 or not node.inputs[3]):
        beta = 0.0
    size = magnitude(ranges.times(gamma.magnitude, inverse_root(epsilon)))
    gain = gated(size, _NO_EPSILON)
    copies = root(context.copies(node.inputs[1], node.inputs[0]))
    shape = context.resolved.shape(node.inputs[0])
    count = shape[-1] if shape else None
    facts = normalised(count if isinstance(count, int) else None, gamma.magnitude, beta, centred)
    second = gain if isinstance(gain, Infinite) else gain * copies
    normal = Effect({0: gain, 1: second}, facts=facts)
    total = ranges.add(context.facts(node.inputs[0]), context.facts(node.inputs[1]))
    if len(node.inputs) > last and node.inputs[last]:
        bias = context.facts(node.inputs[last])
        total = ranges.add(total, Facts(bias.lo, bias.hi))
    plain = Effect({0: ONE, 1: copies}, facts=Facts(total.lo, total.hi))
    words = Infinite(None, "the statistics of a fused normalisation are not modelled")
    statistics = Effect({0: words, 1: words})
    return normal, statistics, statistics, plain


@rule("EmbedLayerNormalization", domain=_MS)
def embed_layer_normalization(node: Node, context: Context) -> tuple[Effect, ...]:
    """Looks up integers: its output starts a new input."""
    out = node.outputs[0]
    if any(context.live(name) for name in node.inputs):
        raise Missing("an embedding that depends on a real input is not modelled")
    context.assume(f"{out}, looked up by integers, is taken as an input in its own right")
    gamma, beta = (context.facts(node.inputs[k]).magnitude for k in (5, 6))
    shape = context.resolved.shape(node.inputs[2])
    width = shape[-1] if shape else None
    known = normalised(width if isinstance(width, int) else None, gamma, beta, True)
    chosen = known if context.input_range else UNKNOWN
    return Effect({}, source=True, facts=chosen), Effect({}), Effect({})


@rule("MatMulNBits", domain=_MS)
def packed_matmul(node: Node, context: Context) -> Effect:
    """The norm of the weight, dequantised exactly."""
    if len(node.inputs) > 4 and node.inputs[4]:
        raise Missing("MatMulNBits with group indices is not modelled")
    layer = context.layer(node, "linear")
    if layer is None:
        layer = linear.matrix_layer(node.inputs[1], unpacked(node, context), node)
    known = context.facts(node.inputs[0])
    gain = context.norm(layer)
    fibres = {-1: ranges.times(gain.upper, known.fibre(-1))}
    facts = Facts(fibres=fibres) if known.fibre(-1) < math.inf else UNKNOWN
    if len(node.inputs) > 5 and node.inputs[5]:
        facts = UNKNOWN
    return unary(gain, facts)


def unpacked(node: Node, context: Context) -> "NDArray[np.float64]":
    """The weight (N, K) of a MatMulNBits: low bits first, a scale and a zero for each block."""
    import numpy as np

    bits, size = attribute(node, "bits", 4), attribute(node, "block_size", 32)
    rows, columns = attribute(node, "N", 0), attribute(node, "K", 0)
    if bits not in (2, 4, 8):
        raise Missing(f"weights packed in {bits} bits are not modelled")
    blocks = -(-columns // size)
    packed = context.value(node.inputs[1], "the packed weight").astype(np.uint8)
    values = _bits(packed.reshape(rows, blocks, -1), bits)[..., :size].astype(np.float64)
    scales = context.value(node.inputs[2], "the scales").astype(np.float64).reshape(rows, blocks)
    zero = np.full((rows, blocks), float(1 << (bits - 1)))
    if len(node.inputs) > 3 and node.inputs[3]:
        given = context.value(node.inputs[3], "the zero points")
        if given.dtype == np.uint8:
            zero = _bits(given.reshape(rows, -1), bits)[:, :blocks].astype(np.float64)
        else:
            zero = given.astype(np.float64).reshape(rows, blocks)
    whole = (values - zero[..., None]) * scales[..., None]
    return np.asarray(whole.reshape(rows, -1)[:, :columns])


def _bits(packed: "NDArray[np.generic]", bits: int) -> "NDArray[np.uint8]":
    import numpy as np

    words = packed.astype(np.uint8)
    parts = [(words >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)


@rule("Attention", domain=_MS)
def attention(node: Node, context: Context) -> Effect:
    """Three projections packed into one weight, and attention over heads."""
    import numpy as np

    if any(node.inputs[4:5]) or any(node.outputs[1:]):
        raise Missing("attention with a cache is not modelled")
    if any(context.live(name) for name in node.inputs[1:]):
        raise Missing("a weight or mask of attention that depends on the input is not modelled")
    weight = context.value(node.inputs[1], "the weight")
    sizes = node.attributes.get("qkv_hidden_sizes")
    third = weight.shape[1] // 3
    widths = [int(s) for s in sizes] if isinstance(sizes, tuple) and sizes else [third] * 3
    cuts = [0, widths[0], widths[0] + widths[1], sum(widths)]
    heads = attribute(node, "num_heads", 1)
    row = context.facts(node.inputs[0]).fibre(-1, context.size(node.inputs[0], -1))
    norms, rows = [], []
    for begin, end in pairwise(cuts):
        layer = linear.matrix_layer(node.inputs[1], weight[:, begin:end].T, node)
        norms.append(context.norm(layer))
        bias = 0.0
        if len(node.inputs) > 2 and node.inputs[2]:
            values = context.value(node.inputs[2], "the bias")
            bias = ranges.of_array(np.asarray(values)[begin:end]).norm
        rows.append(ranges.plus(ranges.times(norms[-1].upper, row), bias))
    scale = attribute(node, "scale", 0.0) or 1.0 / math.sqrt(widths[0] // heads)
    name = node.inputs[0]
    length = context.size(name, -2)
    found = gains(
        Heads(length, round_up(abs(scale)), (rows[0], rows[1], rows[2])),
        (name,) * 3,
        (True, True, True),
    )
    total = _added(found, norms)
    facts = Facts(-rows[2], rows[2], {-1: ranges.times(rows[2], ranges.root(heads))})
    return Effect({0: total}, facts=facts)


def _added(found: list[Gain], norms: list[Magnitude]) -> Gain:
    """The three paths from one input, added."""
    total = magnitude(0.0)
    for gain, norm in zip(found, norms, strict=True):
        if isinstance(gain, Infinite):
            return gain
        total = total + gain * norm
    return total
