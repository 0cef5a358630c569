"""Networks for the tests: built with onnx.helper, run by onnxruntime, norms by dense algebra."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from specaudit.bracket import Bracket
from specaudit.graphs import resolve
from specaudit.lipschitz import bound
from specaudit.model import Function, Graph, Node, ValueInfo, Weight
from specaudit.operators import Layer
from specaudit.report import NetworkBound, Norm


def graph_of(model: onnx.ModelProto) -> Graph:
    """The graph of a model in memory, as a reader of files would give it."""
    functions = {
        (f.domain, f.name): Function(
            f.domain,
            f.name,
            tuple(f.input),
            tuple(f.output),
            tuple(f.attribute),
            tuple(_node(n) for n in f.node),
            {o.domain: o.version for o in f.opset_import},
            {a.name: _attribute(a) for a in f.attribute_proto},
        )
        for f in model.functions
    }
    opsets = {o.domain: o.version for o in model.opset_import}
    return _graph(model.graph, opsets, functions)


def _graph(g: Any, opsets: Mapping[str, int], functions: Any) -> Graph:
    return Graph(
        g.name,
        tuple(_node(n) for n in g.node),
        tuple(_value(v) for v in g.input),
        tuple(_value(v) for v in g.output),
        {t.name: _weight(t) for t in g.initializer},
        {v.name: _value(v) for v in g.value_info},
        opsets,
        functions,
    )


def _weight(tensor: Any) -> Weight:
    array = numpy_helper.to_array(tensor)
    return Weight(tensor.name, array.shape, array.dtype.name, lambda: array.copy())


def _value(info: Any) -> ValueInfo:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return ValueInfo(info.name)
    tensor = info.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return ValueInfo(info.name, dtype)
    dims = tuple(
        d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim
    )
    return ValueInfo(info.name, dtype, dims)


def _node(n: Any) -> Node:
    name = n.name or f"<{n.op_type} {n.output[0] if n.output else ''}>"
    domain = "" if n.domain == "ai.onnx" else n.domain
    attributes = {a.name: _attribute(a) for a in n.attribute}
    return Node(name, n.op_type, tuple(n.input), tuple(n.output), attributes, domain)


def _attribute(a: Any) -> Any:
    if a.ref_attr_name:
        from specaudit.model import AttributeReference

        return AttributeReference(a.ref_attr_name)
    if a.type == onnx.AttributeProto.STRING:
        return a.s.decode()
    if a.type == onnx.AttributeProto.STRINGS:
        return tuple(s.decode() for s in a.strings)
    if a.type == onnx.AttributeProto.TENSOR:
        return _weight(a.t)
    if a.type == onnx.AttributeProto.GRAPH:
        return _graph(a.g, {}, {})
    value = helper.get_attribute_value(a)
    return tuple(value) if isinstance(value, list | tuple) or hasattr(value, "__iter__") else value


def single(
    op: str,
    inputs: Mapping[str, Sequence[Any]],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    order: Sequence[str] | None = None,
    outputs: int = 1,
    opset: int = 21,
    domain: str = "",
    out_type: int = TensorProto.DOUBLE,
    in_type: int = TensorProto.DOUBLE,
    types: Mapping[str, int] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node; `order` lists its inputs where constants come between."""
    constants = dict(constants or {})
    names = list(order) if order is not None else [*inputs, *constants]
    outs = [f"y{k}" if k else "y" for k in range(outputs)]
    node = helper.make_node(op, names, outs, name="node", domain=domain, **attributes)
    return model_of(
        [node],
        inputs,
        constants,
        outs,
        opset=opset,
        in_type=in_type,
        out_type=out_type,
        types=types,
        domain=domain,
    )


def model_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[Any]],
    constants: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    *,
    opset: int = 21,
    in_type: int = TensorProto.DOUBLE,
    out_type: int = TensorProto.DOUBLE,
    types: Mapping[str, int] | None = None,
    domain: str = "",
    functions: Sequence[Any] = (),
) -> onnx.ModelProto:
    types = types or {}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, types.get(n, in_type), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, types.get(n, out_type), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    if domain or any(n.domain for n in nodes):
        imports.append(helper.make_opsetid(domain or "com.microsoft", 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


def norm_of(layer: Layer) -> Norm:
    """Dense singular values, widened by what their computation may be off."""
    weight = np.asarray(layer.read(), dtype=np.float64)
    if not np.isfinite(weight).all():
        return Norm(None, None, "non_finite", "svd")
    if layer.kind.startswith("convolution"):
        return _convolution_norm(layer, weight)
    sigma = float(np.linalg.norm(np.atleast_2d(weight), 2)) if weight.size else 0.0
    return Norm.certified(Bracket(sigma * (1 - 1e-12), sigma * (1 + 1e-12)), "svd")


def _convolution_norm(layer: Layer, weight: np.ndarray) -> Norm:
    """Supremum of the symbol on a fine grid, times the factor that covers what lies between."""
    geometry = layer.geometry
    assert geometry is not None
    group, spatial = geometry.group, weight.shape[2:]
    upper = 0.0
    # Transposed: the adjoint of the convolution with the same kernel, channels exchanged.
    for block in np.split(weight, group, axis=0):
        upper = max(upper, _symbol(block, geometry.strides, geometry.dilations, spatial))
    return Norm.certified(Bracket(0.0, upper), "symbol")


def _symbol(
    kernel: np.ndarray, strides: Sequence[int], dilations: Sequence[int], spatial: Sequence[int]
) -> float:
    full = [d * (k - 1) + 1 for k, d in zip(spatial, dilations, strict=True)]
    dilated = np.zeros((*kernel.shape[:2], *full))
    dilated[(..., *(slice(None, None, d) for d in dilations))] = kernel
    pads = [(0, 0), (0, 0), *((0, -n % s) for n, s in zip(full, strides, strict=True))]
    padded = np.pad(dilated, pads)
    shape: list[int] = []
    for n, s in zip(padded.shape[2:], strides, strict=True):
        shape += [n // s, s]
    split = padded.reshape(*kernel.shape[:2], *shape)
    rank = len(strides)
    order = [0, 1, *(3 + 2 * a for a in range(rank)), *(2 + 2 * a for a in range(rank))]
    taps = split.transpose(order).reshape(
        kernel.shape[0], -1, *(n // s for n, s in zip(padded.shape[2:], strides, strict=True))
    )
    sizes = [1 if k == 1 else 48 * (k - 1) for k in taps.shape[2:]]
    symbol = np.fft.fftn(taps, sizes, axes=tuple(range(2, 2 + rank)))
    flat = symbol.reshape(*taps.shape[:2], -1).transpose(2, 0, 1)
    peak = float(np.linalg.norm(flat, 2, axis=(1, 2)).max())
    for k, n in zip(taps.shape[2:], sizes, strict=True):
        peak /= math.cos(math.pi * (k - 1) / (2 * n))
    return peak * (1 + 1e-9)


def bound_of(
    model: onnx.ModelProto,
    *,
    input_range: Any = None,
    norm: Callable[[Layer], Norm] = norm_of,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> NetworkBound:
    resolved = resolve(graph_of(model), input_shapes=input_shapes or {})
    return bound(resolved, {}, norm, input_range=input_range)


@cache
def _runtime() -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


@dataclass
class Runner:
    """Evaluates a model on one flat vector of all its real inputs.

    `noise` bounds the relative error of an evaluation: double kernels of onnxruntime where
    it has them, else onnx's reference in double, else single precision.
    """

    call: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]
    fixed: dict[str, np.ndarray]
    noise: float

    @property
    def size(self) -> int:
        return sum(math.prod(s) for s in self.shapes.values())

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        feeds, start = dict(self.fixed), 0
        for name, shape in self.shapes.items():
            count = math.prod(shape)
            part = flat[start : start + count].reshape(shape)
            feeds[name] = part.astype(self.dtypes[name])
            start += count
        outs = self.call(feeds)
        return np.concatenate([np.asarray(o, dtype=np.float64).reshape(-1) for o in outs])


def runner(model: onnx.ModelProto, fixed: Mapping[str, np.ndarray] | None = None) -> Runner:
    fixed = dict(fixed or {})
    rt = _runtime()
    options = rt.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = rt.GraphOptimizationLevel.ORT_DISABLE_ALL
    inits = {t.name for t in model.graph.initializer}
    shapes, dtypes = {}, {}
    for v in model.graph.input:
        if v.name in inits or v.name in fixed:
            continue
        shapes[v.name] = tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        dtypes[v.name] = helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
    double = all(d == np.float64 for d in dtypes.values())
    noise = 1e-13 if double else 1e-6
    try:
        session = rt.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception:
        reference = ReferenceEvaluator(model)
        # Its erf is math.erf, squeezed through float32.
        ops = {node.op_type for node in model.graph.node}
        noise = max(noise, 1e-6) if ops & {"Erf", "Gelu"} else noise
        return Runner(lambda f: reference.run(None, dict(f)), shapes, dtypes, fixed, noise)
    run = Runner(lambda f: session.run(None, f), shapes, dtypes, fixed, noise)
    return _calibrated(run, model) if double else run


def _calibrated(run: Runner, model: onnx.ModelProto) -> Runner:
    """Some double kernels of onnxruntime compute in single precision: compare with numpy's."""
    try:
        reference = ReferenceEvaluator(model)
    except Exception:  # an operation that the reference has not
        return run
    other = replace(run, call=lambda feeds: reference.run(None, dict(feeds)))
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(4):
        x = rng.standard_normal(run.size)
        try:
            with np.errstate(all="ignore"):
                mine, theirs = run(x), other(x)
        except Exception:  # the reference lacks the operation, or a type of it
            return run
        if mine.shape == theirs.shape:
            gap = np.linalg.norm(np.nan_to_num(mine - theirs))
            worst = max(worst, float(gap / (1e-300 + np.linalg.norm(np.nan_to_num(theirs)))))
    return replace(run, noise=max(run.noise, 1e-6)) if worst > 1e-12 else run


def steepest(
    run: Runner,
    *,
    box: tuple[float, float] | None = None,
    seed: int = 0,
    starts: Sequence[np.ndarray] = (),
    points: int = 6,
    rounds: int = 3,
    scales: Sequence[float] = (0.1, 1.0, 5.0),
) -> float:
    """The largest difference quotient found, less what its evaluation may be off."""
    rng = np.random.default_rng(seed)
    candidates = [np.asarray(s, dtype=np.float64).reshape(-1) for s in starts]
    for scale in scales:
        for _ in range(points):
            if box is not None:
                candidates.append(rng.uniform(*box, run.size))
            else:
                candidates.append(scale * rng.standard_normal(run.size))
    best, place = 0.0, None
    for x in candidates:
        found, y = _climb(run, x, rng, box, 1)
        if found > best:
            best, place = found, y
    if place is not None:
        best = max(best, _climb(run, place, rng, box, rounds)[0])
    return best


def _climb(
    run: Runner, x: np.ndarray, rng: Any, box: tuple[float, float] | None, rounds: int
) -> tuple[float, np.ndarray]:
    best = 0.0
    step = 1e-4 if run.noise < 1e-9 else 2e-2
    for _ in range(rounds):
        jacobian = _jacobian(run, x, step, box)
        direction = np.linalg.svd(jacobian)[2][0] if jacobian.size else np.zeros_like(x)
        for length in (step, 10 * step, 100 * step, -step):
            found = quotient(run, x, x + length * direction, box)
            best = max(best, found)
        trial = x + rng.standard_normal(x.size) * max(0.1 * float(np.abs(x).mean()), 10 * step)
        trial = trial if box is None else np.clip(trial, *box)
        far = quotient(run, x, trial, box)
        best = max(best, far)
        if rounds > 1:
            sharper = np.linalg.norm(_jacobian(run, trial, step, box), 2)
            if sharper > np.linalg.norm(jacobian, 2):
                x = trial
    return best, x


def _jacobian(run: Runner, x: np.ndarray, step: float, box: Any) -> np.ndarray:
    base = run(x)
    columns = []
    for k in range(x.size):
        moved = x.copy()
        moved[k] += -step if box is not None and moved[k] + step > box[1] else step
        columns.append((run(moved) - base) / (moved[k] - x[k]))
    jacobian = np.stack(columns, axis=1) if columns else np.zeros((base.size, 0))
    return np.nan_to_num(jacobian)


def quotient(run: Runner, x: np.ndarray, y: np.ndarray, box: Any = None) -> float:
    """``|f(x) - f(y)| / |x - y|`` minus the evaluation error of the difference."""
    kind = next(iter(run.dtypes.values()), np.dtype(np.float64))
    if box is not None:
        x, y = np.clip(x, *box), np.clip(y, *box)
    x, y = x.astype(kind).astype(np.float64), y.astype(kind).astype(np.float64)
    distance = float(np.linalg.norm(x - y))
    if distance == 0.0:
        return 0.0
    fx, fy = run(x), run(y)
    error = run.noise * float(np.linalg.norm(fx) + np.linalg.norm(fy) + np.linalg.norm(x))
    found = (float(np.linalg.norm(fx - fy)) - error) / distance
    return found if math.isfinite(found) else 0.0
