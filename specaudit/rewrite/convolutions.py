"""The kernel nearest to one whose convolution has a norm under a limit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.taps import Taps
from specaudit.operators import Array, Layer
from specaudit.report import Geometry

_STEPS = 30
_SETTLED = 1e-4  # relative change of a step past which another one is not worth it
_FINENESS = 4  # frequencies for each degree of the symbol
_MOST_FREQUENCIES = 1 << 12


def project_kernel(layer: Layer, kernel: Array, limit: float) -> Array:
    """Return a kernel near to `kernel` with a symbol that hardly exceeds the limit.

    Parameters
    ----------
    layer : Layer
        Gives stride, dilation and groups.
    kernel : ndarray, float64 or complex128
    limit : float

    Notes
    -----
    Dykstra's alternating projections between the symbols whose singular values are at most
    the limit, on a grid of frequencies, and those of kernels that are zero outside the
    given taps. What is left over the limit, between the frequencies and by stopping, is
    for a last factor to take away. A kernel without overlap takes one step.

    References
    ----------
    J. Boyle, R. Dykstra, 1986. H. Sedghi, V. Gupta, P. Long, ICLR 2019, for the ball.
    """
    grid = _Grid.of(layer, kernel.shape, is_complex=np.iscomplexobj(kernel))
    start = grid.spread(kernel)
    current, correction = start, np.zeros_like(start)
    for _ in range(_STEPS):
        wanted = current + correction
        inside = grid.clip(wanted, limit)
        correction = wanted - inside
        following = np.where(grid.support, inside, 0.0)
        moved = np.linalg.norm(following - current)
        current = following
        if moved <= _SETTLED * np.linalg.norm(current) or grid.is_flat:
            break
    return grid.gathered(current, kernel)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Kernels with stride, dilation and groups resolved, on a torus of positions.

    `index` says for every place of the torus which entry of the kernel it is, counted from
    1; 0 is none of them.
    """

    index: NDArray[np.int64]
    is_complex: bool

    @classmethod
    def of(cls, layer: Layer, shape: tuple[int, ...], *, is_complex: bool) -> "_Grid":
        rank = len(shape) - 2
        geometry = layer.geometry or Geometry((1,) * rank, (0,) * (2 * rank), (1,) * rank)
        numbered = np.arange(1.0, math.prod(shape) + 1).reshape(shape)
        taps = Taps.of(
            numbered,
            strides=geometry.strides,
            dilations=geometry.dilations,
            group=geometry.group,
        )
        most = max(4, round(_MOST_FREQUENCIES ** (1.0 / max(taps.axes, 1))))
        sizes = [max(int(d) + 1, min(_FINENESS * (int(d) + 1), most)) for d in taps.degrees]
        index = np.zeros((taps.groups, *sizes, taps.rows, taps.columns), dtype=np.int64)
        for place, position in enumerate(taps.positions):
            where: tuple[slice | int, ...] = (slice(None), *(int(step) for step in position))
            index[where] = np.asarray(taps.values[:, place], dtype=np.int64)
        return cls(index, is_complex)

    @property
    def support(self) -> NDArray[np.bool_]:
        return self.index > 0

    @property
    def is_flat(self) -> bool:
        """Whether there are no frequencies: the projection on the support is none."""
        return self.index.ndim == 3 and bool(self.support.all())

    def spread(self, kernel: Array) -> Array:
        """Return a kernel on the torus."""
        flat = np.concatenate([np.zeros(1, dtype=kernel.dtype), kernel.reshape(-1)])
        return flat[self.index]

    def gathered(self, values: Array, like: Array) -> Array:
        """Return the kernel that values on the torus are."""
        kernel = like.copy().reshape(-1)
        kernel[self.index[self.support] - 1] = values[self.support]
        return kernel.reshape(like.shape)

    def clip(self, values: Array, limit: float) -> Array:
        """Return values whose symbol has no singular value over the limit."""
        axes = tuple(range(1, values.ndim - 2))
        sizes = tuple(values.shape[axis] for axis in axes)
        if not axes:
            return _clipped(values, limit)
        if self.is_complex:
            symbol = _clipped(np.fft.fftn(values, axes=axes), limit)
            return np.fft.ifftn(symbol, axes=axes)
        symbol = _clipped(np.fft.rfftn(values, axes=axes), limit)
        return np.fft.irfftn(symbol, s=sizes, axes=axes)


def _clipped(matrices: Array, limit: float) -> Array:
    """Return a stack of matrices with their singular values clipped."""
    u, sigma, v = np.linalg.svd(matrices, full_matrices=False)
    excess = np.maximum(sigma - limit, 0.0)
    return matrices - (u * excess[..., None, :]) @ v
