"""Constants made new: casts, ranges, fills, pads, scattered and quantised values."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from specaudit.graphs.dtypes import ELEMENT_TYPES, is_float, is_integer, limits, numpy_dtype
from specaudit.graphs.fold import Inputs, folds
from specaudit.graphs.fold_arithmetic import present
from specaudit.graphs.fold_layout import listed
from specaudit.graphs.site import Array, Site


@folds("Cast", "CastLike", data=(0,))
def cast(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Rounded to nearest even, or towards zero to whole numbers."""
    name = ELEMENT_TYPES.get(site.integer("to", 0)) if site.node.op == "Cast" else site.dtype(1)
    target = numpy_dtype(name)
    if inputs[0] is None or target is None:
        return None
    return _converted(inputs[0], target, saturate=bool(site.integer("saturate", 1)))


def _converted(
    value: Array, target: "np.dtype[np.generic]", *, saturate: bool
) -> Sequence[Array] | None:
    if value.dtype == target:
        return [value]
    if target.name == "float8_e8m0fnu":  # rounds up or down as an attribute says
        return None
    if target == np.bool_:
        return [value.astype(np.float64) != 0 if is_float(value.dtype) else value.astype(np.bool_)]
    if is_float(value.dtype) and is_integer(target):
        whole = np.trunc(value.astype(np.float64))
        low, high = limits(target)
        # what does not fit is left open by ONNX; 2^63 rounds to itself and would pass for 2^63-1
        if not ((whole >= low) & (whole <= high) & (whole < 2.0**63)).all():
            return None
        return [whole.astype(np.int64).astype(target)]
    if value.dtype.name in {"int4", "uint4", "int2", "uint2", "bool"}:
        return [value.astype(np.int8).astype(target)]
    if saturate and target.name.startswith("float8_e"):
        low, high = limits(target)
        value = np.clip(value.astype(np.float64), low, high).astype(np.float32)
    return [value.astype(target)]


@folds("ConstantOfShape", data=())
def filled(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """One value everywhere, the float 0 where none is given."""
    wanted, value = listed(inputs[0]), site.tensor("value")
    if wanted is None:
        return None
    if value is None:
        return [np.zeros(wanted, np.float32)]
    return [np.full(wanted, value.read().ravel()[0], dtype=numpy_dtype(value.dtype))]


@folds("Range")
def counted(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """From start towards the limit, each term start + i * delta."""
    operands = present(inputs)
    if operands is None or len(operands) != 3:
        return None
    start, limit, delta = (item.ravel()[0] for item in operands)
    if is_integer(operands[0].dtype):
        return [np.arange(int(start), int(limit), int(delta), dtype=operands[0].dtype)]
    length = max(0, ceil((float(limit) - float(start)) / float(delta)))
    steps = np.arange(length, dtype=operands[0].dtype)
    return [(start + steps * delta).astype(operands[0].dtype)]


@folds("EyeLike", data=())
def identity_matrix(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Ones on a diagonal."""
    shape = site.shape(0)
    dtype = numpy_dtype(ELEMENT_TYPES.get(site.integer("dtype", 0)) or site.dtype(0))
    if dtype is None or shape is None or len(shape) != 2:
        return None
    rows, columns = shape
    if not isinstance(rows, int) or not isinstance(columns, int):
        return None
    return [np.eye(rows, columns, site.integer("k", 0)).astype(dtype)]


@folds("OneHot", data=(2,))
def one_hot(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """The on value at the index, the off value elsewhere."""
    operands = present(inputs)
    if operands is None or len(operands) != 3:
        return None
    indices, depth, values = operands
    deep = int(depth.ravel()[0])
    picks = indices.astype(np.int64)
    picks = np.where(picks < 0, picks + deep, picks)
    hot = picks[..., None] == np.arange(deep)
    off, on = values.ravel()
    out = np.where(hot, on, off).astype(values.dtype)
    axis = site.integer("axis", -1)
    return [np.moveaxis(out, -1, axis)]


@folds("NonZero", data=(), shrinks=True)
def nonzero(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Indices of what is not zero, a row for each dimension."""
    value = inputs[0]
    return None if value is None else [np.array(np.nonzero(np.atleast_1d(value)), dtype=np.int64)]


@folds("Pad", data=(0, 2))
def padded(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Elements put before and behind each axis, or with negative pads taken away."""
    value = inputs[0]
    pads = site.integers("pads") if site.opset < 11 else listed(inputs[1])
    mode = site.text("mode", "constant")
    if value is None or pads is None or mode not in {"constant", "reflect", "edge", "wrap"}:
        return None
    axes = listed(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else range(value.ndim)
    widths, cuts = [(0, 0)] * value.ndim, [slice(None)] * value.ndim
    for index, axis in enumerate(axes or ()):
        before, after = pads[index], pads[len(pads) // 2 + index]
        widths[axis] = (max(0, before), max(0, after))
        cuts[axis] = slice(max(0, -before), value.shape[axis] - max(0, -after))
    kept = value[tuple(cuts)]
    if mode != "constant":
        return [np.pad(kept, widths, mode)]  # type: ignore[call-overload]
    fill = inputs[2] if len(inputs) > 2 else None
    number = site.number("value", 0.0) if fill is None else fill.ravel()[0]
    shape = [n + sum(pair) for n, pair in zip(kept.shape, widths, strict=True)]
    out = np.full(shape, number, dtype=value.dtype)
    out[tuple(slice(b, b + n) for (b, _), n in zip(widths, kept.shape, strict=True))] = kept
    return [out]


@folds("ScatterND", data=(0, 2))
def scatter_nd(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Slices replaced at index vectors."""
    operands = present(inputs)
    if operands is None or site.text("reduction", "none") != "none":
        return None
    value, indices, updates = operands
    out = value.copy()
    out[tuple(np.moveaxis(indices.astype(np.int64), -1, 0))] = updates
    return [out]


@folds("ScatterElements", "Scatter", data=(0, 2))
def scatter_elements(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Elements replaced one by one along an axis."""
    operands = present(inputs)
    if operands is None or site.text("reduction", "none") != "none":
        return None
    value, indices, updates = operands
    axis = site.integer("axis", 0) % value.ndim
    places: list[Array] = list(np.indices(indices.shape))
    picks = indices.astype(np.int64)
    places[axis] = np.where(picks < 0, picks + value.shape[axis], picks)
    out = value.copy()
    out[tuple(places)] = updates
    return [out]


@folds("DequantizeLinear")
@folds("DequantizeLinear", domain="com.microsoft")
def dequantized(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """``(q - zero_point) * scale`` in float64, so that nothing is lost to the scale's dtype."""
    value, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if value is None or scale is None:
        return None
    whole = value.astype(np.float64)
    if zero is not None:
        whole -= _spread(site, zero.astype(np.float64), value)
    whole *= _spread(site, scale.astype(np.float64), value)
    return [whole]


def _spread(site: Site, scale: NDArray[np.float64], value: Array) -> NDArray[np.float64]:
    """A scale for the tensor, for each slice along `axis`, or for each block of slices."""
    if scale.size == 1 and scale.ndim <= 1:
        return scale.reshape(())
    axis = site.integer("axis", 1) % value.ndim
    block = site.integer("block_size", 0)
    if block:
        spread = np.repeat(scale, block, axis=axis)
        return spread[tuple(slice(0, n) for n in value.shape)]
    if scale.ndim != 1 or scale.size != value.shape[axis]:
        raise ValueError(scale.shape)
    return scale.reshape([-1 if dim == axis else 1 for dim in range(value.ndim)])


@folds("QuantizeLinear")
@folds("QuantizeLinear", domain="com.microsoft")
def quantized(site: Site, inputs: Inputs) -> Sequence[Array] | None:
    """Divided in the input's dtype, rounded to nearest even, and cut to what fits."""
    value, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    target = numpy_dtype(site.scope.type_of(site.node.outputs[0]).dtype)
    if value is None or scale is None or target is None:
        return None
    spread = _spread(site, scale.astype(np.float64), value)
    ratio = (value.astype(np.float32) / spread.astype(np.float32)).astype(np.float64)
    if not is_integer(target):
        return _converted(ratio.astype(np.float32), target, saturate=True)
    shift = 0.0 if zero is None else _spread(site, zero.astype(np.float64), value)
    low, high = limits(target)
    return [np.clip(np.rint(ratio) + shift, low, high).astype(np.int64).astype(target)]
