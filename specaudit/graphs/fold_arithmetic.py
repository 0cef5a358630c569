"""Constants computed element by element, and their reductions, in the dtype of the graph."""

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from specaudit.graphs.dtypes import is_float, is_integer
from specaudit.graphs.fold import Inputs, folds
from specaudit.graphs.fold_layout import axes_given
from specaudit.graphs.site import Array, Site

Function = Callable[..., Array]


def _chain(function: Function) -> Function:
    return lambda *operands: reduce(function, operands)


def _mean(*operands: Array) -> Array:
    total: Array = reduce(np.add, operands)
    return _cast(np.true_divide(total.astype(np.float64), len(operands)), total)


def _divide(a: Array, b: Array) -> Array:
    """Whole numbers are divided towards zero, as in C."""
    if is_integer(a.dtype) and is_integer(b.dtype):
        if not b.astype(np.bool_).all():
            raise ZeroDivisionError
        quotient = _apply(np.floor_divide, a, b)
        inexact = _apply(np.multiply, quotient, b) != a
        negative = (a.astype(np.float64) < 0) != (b.astype(np.float64) < 0)
        return _apply(np.add, quotient, (inexact & negative).astype(quotient.dtype))
    return _apply(np.true_divide, a, b)


def _apply(function: Function, *operands: Array) -> Array:
    return function(*operands)


def _cast(value: Array, like: Array) -> Array:
    return value.astype(like.dtype)


def _power(a: Array, b: Array) -> Array:
    return _cast(_apply(np.power, a, b), a)


def _reciprocal(a: Array) -> Array:
    return _apply(np.true_divide, np.ones((), a.dtype), a)


ELEMENTWISE: dict[str, Function] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": _power,
    "Sum": _chain(np.add),
    "Mean": _mean,
    "Min": _chain(np.minimum),
    "Max": _chain(np.maximum),
    "Neg": np.negative,
    "Abs": np.absolute,
    "Sqrt": np.sqrt,
    "Reciprocal": _reciprocal,
    "Exp": np.exp,
    "Log": np.log,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tanh": np.tanh,
    "Relu": lambda a: np.maximum(a, np.zeros((), a.dtype)),
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "IsNaN": np.isnan,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "BitwiseNot": np.invert,
}


@folds(*ELEMENTWISE)
def elementwise(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """NumPy's function of that name; since opset 7 operands broadcast as NumPy's do."""
    operands = present(inputs)
    if operands is None or (site.opset < 7 and "broadcast" in site.node.attributes):
        return None
    return [ELEMENTWISE[site.node.op](*operands)]


@folds("Mod")
def modulo(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """The remainder has the divisor's sign, or with fmod the dividend's."""
    operands = present(inputs)
    if operands is None or (is_integer(operands[1].dtype) and not operands[1].all()):
        return None
    return [_apply(np.fmod if site.integer("fmod", 0) else np.mod, *operands)]


@folds("Clip", data=(0, 1, 2))
def clip(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Bounds are attributes before opset 11; where they cross, the upper one wins."""
    value = inputs[0]
    if value is None:
        return None
    bounds: list[Array | None] = [*inputs[1:], None, None]
    if site.opset < 11:
        given = (site.node.attributes.get(name) for name in ("min", "max"))
        bounds = [None if item is None else np.asarray(item, value.dtype) for item in given]
    low, high = bounds[:2]
    value = value if low is None else _apply(np.maximum, value, low)
    return [value if high is None else _apply(np.minimum, value, high)]


CUMULATIVE: Function = np.cumsum


@folds("CumSum", data=(0,))
def cumulative(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Partial sums along an axis, in its order or against it, with or without the last."""
    value, where = inputs
    if value is None or where is None:
        return None
    axis = int(where.ravel()[0])
    value = np.flip(value, axis) if site.integer("reverse", 0) else value
    out = value.astype(np.float64 if is_float(value.dtype) else value.dtype)
    if site.integer("exclusive", 0):
        first = np.zeros_like(np.take(out, [0], axis)) if out.shape[axis] else out
        body = np.take(out, np.arange(max(0, out.shape[axis] - 1)), axis)
        out = np.concatenate([first, body], axis) if out.shape[axis] else out
    out = _cast(CUMULATIVE(out, axis=axis, dtype=out.dtype), value)
    return [np.flip(out, axis) if site.integer("reverse", 0) else out]


REDUCTIONS: dict[str, Function] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceProd": np.prod,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceL1": lambda a, axis, keepdims: np.sum(np.abs(a), axis=axis, keepdims=keepdims),
    "ReduceL2": lambda a, axis, keepdims: np.sqrt(np.sum(a * a, axis=axis, keepdims=keepdims)),
    "ReduceSumSquare": lambda a, axis, keepdims: np.sum(a * a, axis=axis, keepdims=keepdims),
}


@folds(*REDUCTIONS, data=(0,))
def reduction(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Reduced in float64 and rounded once: ONNX leaves the order of summation open."""
    value, op = inputs[0], site.node.op
    if value is None:
        return None
    axes = axes_given(site, inputs, 13 if op == "ReduceSum" else 18)
    if not axes:
        if site.integer("noop_with_empty_axes", 0):
            return [value]
        axes = tuple(range(value.ndim))
    extremum = op in {"ReduceMax", "ReduceMin"}
    wide = value if extremum or not is_float(value.dtype) else value.astype(np.float64)
    if op == "ReduceMean" and (wide.dtype.kind in "iu" or not wide.size):
        return None
    out = REDUCTIONS[op](wide, axis=tuple(axes), keepdims=bool(site.integer("keepdims", 1)))
    return [_cast(np.asarray(out), value)]


@folds("MatMul", "Gemm")
def product(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Products in float64, rounded once; whole numbers stay whole."""
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        return None
    wide = np.float64 if is_float(a.dtype) else np.int64
    left = a.astype(wide).T if site.integer("transA", 0) else a.astype(wide)
    right = b.astype(wide).T if site.integer("transB", 0) else b.astype(wide)
    out: Array = np.matmul(left, right)
    if site.node.op == "Gemm" and is_float(a.dtype):
        out = np.multiply(out.astype(np.float64), site.number("alpha", 1.0))
        if len(inputs) > 2 and inputs[2] is not None:
            out = out.astype(np.float64) + inputs[2].astype(np.float64) * site.number("beta", 1.0)
    elif site.node.op == "Gemm":
        return None
    return [_cast(out, a)]


def present(inputs: Inputs) -> list[Array] | None:
    """All operands, if all are there."""
    operands = [item for item in inputs if item is not None]
    return operands if operands and len(operands) == len(inputs) else None
