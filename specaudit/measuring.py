"""How layers are measured: side by side, one alone, and once more where a limit asks for it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

import msgspec

from specaudit import norms
from specaudit.operators import Layer
from specaudit.report import Measurement, Settings

T = TypeVar("T")

# Where a limit falls inside a bracket the norm is measured anew, to this relative width.
_DECIDING_RTOL = 1e-6
# What layers that are measured side by side may take, besides what the largest takes alone;
# those that take more have all threads to themselves, one at a time.
_SIDE_BY_SIDE_BYTES = 128 << 20
# Under this two threads of BLAS save milliseconds at best, and lose seconds on busy cores.
_SMALL_BYTES = 32 << 20


def side_by_side(
    measure_one: Callable[[Layer], T], layers: Sequence[Layer], *, jobs: int
) -> Iterator[T]:
    """Yield `measure_one` of each layer, in order; small ones run side by side."""
    room = _SIDE_BY_SIDE_BYTES + 2 * max(map(weight_bytes, layers), default=0)
    for is_small, run in groupby(layers, lambda layer: norms.working_bytes(layer) * jobs <= room):
        found = list(run)
        if not is_small or jobs == 1:
            yield from (_one_by_one(measure_one, layer) for layer in found)
            continue
        workers = jobs if _is_worth_threads(found) else 1
        with ThreadPoolExecutor(workers) as pool, norms.one_thread():
            yield from pool.map(measure_one, found)


def _one_by_one(measure_one: Callable[[Layer], T], layer: Layer) -> T:
    with threads_for((layer,)):
        return measure_one(layer)


def _is_worth_threads(layers: Sequence[Layer]) -> bool:
    """Whether BLAS, which runs side by side, takes longer than Python, which does not."""
    return any(layer.kind.startswith("convolution") for layer in layers) or (
        sum(map(norms.working_bytes, layers)) >= len(layers) << 17
    )


def alone(layer: Layer, settings: Settings) -> Measurement:
    """Measure one layer while nothing else runs."""
    return _one_by_one(lambda layer: norms.measure(layer, settings), layer)


def threads_for(layers: Sequence[Layer]) -> contextlib.AbstractContextManager[None]:
    """Return the context to work on layers in: BLAS on one thread unless one of them is large.

    Notes
    -----
    A kernel is measured by thousands of small factorisations, and `norms.one_thread` says
    what threads do to those.
    """
    is_large = any(norms.working_bytes(layer) > _SMALL_BYTES for layer in layers)
    return contextlib.nullcontext() if is_large else norms.one_thread()


def decided(
    layer: Layer, measurement: Measurement, limit: float, settings: Settings
) -> Measurement:
    """Return the measurement, or one as exact as can be had where it leaves a limit open."""
    norm = measurement.norm
    is_open = norm.status == "certified" and norm.bracket.lower <= limit < norm.bracket.upper
    closer = deciding(settings)
    return norms.measure(layer, closer) if is_open and closer != settings else measurement


def deciding(settings: Settings) -> Settings:
    """Return the settings by which a limit is decided."""
    rtol = min(settings.rtol, _DECIDING_RTOL)
    return msgspec.structs.replace(settings, rtol=rtol, rtol_given=True)


def weight_bytes(layer: Layer) -> int:
    """Size of a layer in float64, for progress and for the order of work."""
    size = 8
    for dimension in layer.shape:
        size *= dimension
    return size
