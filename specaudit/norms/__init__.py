"""Norms of weights, as intervals that are proved to hold them."""

import math
import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from specaudit import limits
from specaudit.bracket import Bracket, round_down, round_up
from specaudit.norms import devices, exact
from specaudit.norms import loss as rounding
from specaudit.norms.blocks import Tall, peak_and_defects
from specaudit.norms.spectral import METHODS, measured, spectral_norm
from specaudit.norms.threads import one_thread
from specaudit.operators import Layer, dense, flattened, widen
from specaudit.report import Measurement, Norm, Settings, Spectrum

__all__ = ["METHODS", "measure", "one_thread", "spectral_norm", "spectrum"]

# Past this short side LAPACK's singular values take minutes.
_SPECTRUM_LIMIT = 4096


def measure(layer: Layer, settings: Settings | None = None) -> Measurement:
    """Return a layer's norms, with the evidence for them.

    Parameters
    ----------
    layer : Layer
    settings : Settings, optional

    Examples
    --------
    >>> import numpy as np
    >>> layer = Layer("fc.weight", "linear", (1, 2), "float32", lambda: np.float32([[3, 4]]))
    >>> measure(layer).norm.bracket.relative_width < 1e-6
    True

    Notes
    -----
    A convolution has two norms: of the operator, and of its reshaped kernel; `settings.conv`
    says which one is judged. Of a bilinear layer, the norm is that of the unfolding
    (out, in1 in2), which bounds ``|y| <= ||A|| |x1| |x2|``; of a scale, the largest entry.
    The norms are those of the exact weight: what its computation lost (`Layer.roundings`,
    `Layer.error`) is taken off one end and added to the other.
    """
    settings = settings or Settings()
    if (most := limits.allowed()) is not None and working_bytes(layer) > most:
        return _left_out(layer, most)
    started = time.perf_counter()
    device = devices.resolve(settings.device)
    operator_norm = reshaped = None
    matvecs, notes = 0, layer.notes
    held = [layer.read()]  # popped below: it is let go as soon as its Gram matrix stands
    shape, lost = held[0].shape, rounding.of(layer, held[0])
    if layer.kind in ("convolution", "convolution_transposed"):
        reshaped, operator_norm, matvecs = _convolution(layer, held.pop(), settings, device)
        reshaped = rounding.widened(reshaped, lost)
        in_operator = rounding.of_operator(lost, shape, layer.geometry)
        operator_norm = rounding.widened(operator_norm, in_operator)
        norm = operator_norm if settings.conv == "operator" else reshaped
    elif layer.kind == "scale":
        norm = rounding.widened(_scale(held.pop()), lost)
    else:
        norm, matvecs = measured(dense(devices.place(_matrix(layer, held.pop()), device)), settings)
        norm = rounding.widened(norm, lost)
    if layer.kind == "bilinear":
        notes = (*notes, "norm of the unfolding (out, in1*in2): |y| <= norm * |x1| * |x2|")
    return Measurement(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        dtype=layer.dtype,
        norm=norm,
        node=layer.node,
        op=layer.op,
        geometry=layer.geometry,
        reshaped_norm=reshaped,
        notes=notes,
        tensors=tuple(weight.name for weight in layer.tensors),
        device=device,
        matvecs=matvecs,
        seconds=time.perf_counter() - started,
        operator_norm=operator_norm,
    )


def working_bytes(layer: Layer) -> int:
    """Return the memory that measuring a layer takes: its matrix, and the Gram matrix twice."""
    if layer.kind == "scale" or not layer.shape:
        return 8 * math.prod(layer.shape)
    first = layer.shape[1 if layer.kind == "convolution_transposed" else 0]
    size = math.prod(layer.shape)
    return 8 * (size + 2 * min(first, size // max(first, 1)) ** 2)


def _left_out(layer: Layer, most: int) -> Measurement:
    needed = working_bytes(layer)
    reason = f"needs {-(-needed >> 20)} MiB, --max-memory allows {most >> 20}"
    return Measurement(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        dtype=layer.dtype,
        norm=Norm(None, None, "not_computed", "none", reason=reason),
        node=layer.node,
        op=layer.op,
        geometry=layer.geometry,
        notes=layer.notes,
        tensors=tuple(weight.name for weight in layer.tensors),
    )


def spectrum(layer: Layer) -> Spectrum | None:
    """Return a layer's leading singular values, or None where LAPACK would take minutes.

    Notes
    -----
    Of a convolution, those of the reshaped kernel.
    """
    if layer.kind == "scale":
        sigma = np.sort(np.abs(widen(layer.read().reshape(-1))))[::-1]
        return exact.spectrum_of(sigma) if sigma.size and np.all(np.isfinite(sigma)) else None
    matrix = _matrix(layer, layer.read())
    if 0 in matrix.shape or min(matrix.shape) > _SPECTRUM_LIMIT:
        return None
    tall = Tall.of(matrix)
    peak, nans, infinities = peak_and_defects(tall)
    if nans or infinities:
        return None
    tall = tall.scaled(peak)
    return exact.spectrum_of(exact.singular_values(tall), tall.exponent)


def _convolution(
    layer: Layer, values: NDArray[np.generic], settings: Settings, device: str
) -> tuple[Norm, Norm, int]:
    kernel = devices.place(values, device)
    transposed = layer.kind == "convolution_transposed"
    reshaped, matvecs = measured(flattened(kernel, transposed=transposed), settings)
    reshaped = msgspec.structs.replace(reshaped, of="reshaped")
    if reshaped.status == "non_finite" or 0 in kernel.shape:
        return reshaped, msgspec.structs.replace(reshaped, of="operator"), matvecs
    from specaudit.norms import symbol  # only models with convolutions pay for it

    operator_norm = symbol.operator_norm(
        kernel,
        layer.geometry,
        transposed=transposed,
        rtol=settings.convolution_rtol,
        seed=settings.seed,
    )
    return reshaped, operator_norm, matvecs


def _matrix(layer: Layer, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the weight as the matrix that is measured."""
    if layer.kind == "convolution_transposed":
        values = values.swapaxes(0, 1)
    if values.ndim == 2:
        return values
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def _scale(values: NDArray[np.generic]) -> Norm:
    """Return the norm of a diagonal: its largest entry, exactly."""
    if values.size == 0:
        return Norm(0.0, 0.0, "certified", "exact", reason="the weight has no entries")
    diagonal = Tall(values.reshape(-1, 1))
    peak, nans, infinities = peak_and_defects(diagonal)
    if nans or infinities:
        reason = f"{nans} NaN and {infinities} infinite among {values.size} entries"
        return Norm(None, None, "non_finite", "exact", reason=reason)
    if not diagonal.is_complex:
        return Norm.certified(Bracket.exactly(peak), "exact")
    # hypot is good to a unit or two in the last place; four steps are taken.
    lower = upper = float(np.abs(values.astype(np.complex128)).max())
    for _ in range(4):
        lower, upper = round_down(lower), round_up(upper)
    return Norm.certified(Bracket(lower, upper), "exact")
