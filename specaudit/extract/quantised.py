"""Integer and float8 weights with their scales: ``W = (q - zero_point) * scale``.

The scale is one number, one a row, or one a block. bitsandbytes' int8 rows come with
``SCB``, the row maxima: ``W = q * SCB / 127``.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from specaudit.errors import UnsupportedModel
from specaudit.extract.entries import Effective, Reals, Values, exact, plain, unresolved

if TYPE_CHECKING:
    from specaudit.model import Weight

_SCALES = ("weight_scale", "weight_scales", "weight_scale_inv", "scale", "scales", "SCB")
_ZEROS = ("weight_zero_point", "zero_point", "zero_points", "zeros")
_PACKED = ("qzeros", "g_idx", "weight_shape", "weight_format")
_SAME = 1e-6  # relative: float32 roundings of a multiple, not another matrix


def resolve(tensors: "Mapping[str, Weight]") -> Iterator[Effective]:
    """Yield the dequantised weights of a bare checkpoint; packed ones as the problem they are."""
    ordered = sorted(tensors)
    for name, weight in tensors.items():
        prefix = name.rpartition(".")[0]
        leaf = name.rpartition(".")[2]
        beside = {
            other: tensors[key]
            for other in (*_SCALES, *_ZEROS, *_PACKED)
            if (key := f"{prefix}.{other}".lstrip(".")) in tensors and key != name
        }
        # what begins with the name and a dot; "/" comes next after "."
        first, last = (bisect_left(ordered, name + mark) for mark in "./")
        inner = tuple(tensors[key] for key in ordered[first:last])
        if leaf in {"qweight", "weight_packed"}:
            effective = f"{prefix}.weight".lstrip(".")
            reason = f"integers packed by a scheme that is not read ({leaf})"
            yield unresolved(effective, (weight, *beside.values()), reason)
        elif _is_quantised(weight) and inner:
            reason = "4-bit blocks of bitsandbytes, which are not read"
            yield unresolved(name, (weight, *inner), reason)
        elif leaf == "weight" and _is_quantised(weight) and len(weight.shape) >= 2:
            yield from _scaled(name, weight, beside)


def _is_quantised(weight: "Weight") -> bool:
    return weight.dtype.startswith(("int", "uint", "float8", "float4"))


def _scaled(name: str, weight: "Weight", beside: "Mapping[str, Weight]") -> Iterator[Effective]:
    leaf = next((leaf for leaf in _SCALES if leaf in beside), None)
    if leaf is None:
        return
    scale = beside[leaf]
    zero = next((beside[leaf] for leaf in _ZEROS if leaf in beside), None)
    spread_scale = spread(plain(scale), weight.shape)
    spread_zero = None if zero is None else spread(plain(zero), weight.shape)
    if spread_scale is None or (zero is not None and spread_zero is None):
        yield unresolved(name, (weight, scale), f"{scale.name} does not fit the weight")
        return
    if leaf == "SCB":
        spread_scale = spread_scale.times(1.0 / 127.0, "1/127")
    yield dequantised(plain(weight), spread_scale, spread_zero)


def dequantised(weight: Effective, scale: Effective, zero: Effective | None) -> Effective:
    """Return ``(weight - zero) * scale``, computed in float64.

    Parameters
    ----------
    weight : Effective
        Of integers or float8.
    scale, zero : Effective
        Of shapes that broadcast to the weight's.

    Notes
    -----
    It is written by its scale, and so can be scaled as a whole but not otherwise changed.
    """
    problem = weight.problem or scale.problem or (zero.problem if zero else "")
    tensors = (*weight.tensors, *scale.tensors, *(zero.tensors if zero else ()))

    def read() -> Reals:
        whole = exact(weight.read())
        if zero is not None:
            whole -= exact(zero.read())
        whole *= exact(scale.read())
        return whole

    def write(values: Values) -> Mapping[str, Values]:
        assert scale.write is not None
        return scale.write(exact(scale.read()) * ratio(values, read()))

    names = " and ".join(part.name for part in (scale, zero) if part is not None)
    return Effective(
        weight.name, weight.shape, weight.dtype, tensors, read,
        write if scale.write is not None else None,
        (*weight.notes, f"dequantised by {names}"), problem, scale.roundings + 2,
    )  # fmt: skip


def spread(scale: Effective, shape: tuple[int, ...]) -> Effective | None:
    """Return scales in a shape that broadcasts to the weight's: for all, each row or each block."""
    rank = len(shape)
    if scale.shape == () or set(scale.shape) == {1}:
        return scale.reshaped(*(1,) * rank)
    if scale.shape == shape[:1]:
        return scale.reshaped(*shape[:1], *(1,) * (rank - 1))
    if len(scale.shape) != rank or 0 in scale.shape:
        return None
    blocks = [-(-size // count) for size, count in zip(shape, scale.shape, strict=True)]
    counts = [-(-size // block) for size, block in zip(shape, blocks, strict=True)]
    if counts != list(scale.shape):
        return None

    def forth(values: Values) -> Values:
        for axis, (block, size) in enumerate(zip(blocks, shape, strict=True)):
            if values.shape[axis] not in (1, size):
                values = np.repeat(values, block, axis=axis).take(range(size), axis=axis)
        return values

    def back(values: Values) -> Values:
        grown = [scale.shape[axis] not in (1, size) for axis, size in enumerate(shape)]
        steps = (slice(None, None, b if g else 1) for b, g in zip(blocks, grown, strict=True))
        return values[tuple(steps)]

    grown_shape = tuple(
        1 if count == 1 else size for count, size in zip(scale.shape, shape, strict=True)
    )
    return scale.arranged(grown_shape, forth, back)


def ratio(wanted: Values, stored: Values) -> float:
    """Return c where ``wanted = c * stored``.

    Raises
    ------
    UnsupportedModel
        If the one is no multiple of the other.
    """
    a, b = exact(wanted), exact(stored)
    square = float(np.vdot(b, b))
    factor = float(np.vdot(b, a)) / square if square > 0 else 1.0
    if np.abs(a - factor * b).max(initial=0.0) > _SAME * np.abs(a).max(initial=0.0):
        raise UnsupportedModel(
            "this weight can only be scaled as a whole", help="use the mode that scales weights"
        )
    return factor
