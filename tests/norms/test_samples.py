"""A sample passes if its norm is below the limit, and only then; both routes agree."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from specaudit.norms import samples as samples_module
from specaudit.norms.polynomial import GramPolynomial
from specaudit.norms.samples import Samples
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Boxes


def taps_of(shape: tuple[int, ...], group: int = 1, *, seed: int = 0, kind: str = "real") -> Taps:
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal(shape)
    if kind == "complex":
        kernel = kernel + 1j * rng.standard_normal(shape)
    ones = (1,) * (len(shape) - 2)
    given = torch.from_numpy(kernel) if kind == "torch" else kernel
    return Taps.of(given, strides=ones, dilations=ones, group=group)


def symbols(taps: Taps, boxes: Boxes, weights: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Evaluate the symbol the plain way."""
    values = np.asarray(taps.values)
    angles = 2 * np.pi * (boxes.index + 0.5) / boxes.counts
    waves = np.exp(-1j * angles @ taps.positions.T) * weights
    return np.einsum("bt,btij->bij", waves, values[boxes.group])


@pytest.mark.parametrize("kind", ["real", "complex", "torch"])
@pytest.mark.parametrize(
    ("shape", "group"),
    [((5, 4, 3), 1), ((40, 36, 3, 2), 1), ((6, 1, 3, 3), 6), ((8, 3, 2, 2, 2), 2), ((4, 70, 5), 1)],
)
def test_larger_tells_which_samples_exceed(kind: str, shape: tuple[int, ...], group: int) -> None:
    taps = taps_of(shape, group, kind=kind)
    boxes = Boxes.uniform(np.arange(group), taps.degrees + 2, half=False)
    truth = np.linalg.norm(symbols(taps, boxes, np.ones(len(taps.positions))), 2, axis=(1, 2))
    points, samples = boxes.centres(), Samples(taps)
    # The certificate's own slack is about n**2 u; 1e-9 is far above it and far below rtol.
    assert not samples.larger(points, truth * (1.0 + 1e-9)).any()
    assert samples.larger(points, truth * (1.0 - 1e-9)).all()


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_polynomial_and_product_give_the_same_samples(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "_LARGE", 1)
    taps = taps_of((150, 140, 3, 2), kind=kind)
    boxes = Boxes.uniform(np.arange(1), np.array([7, 5]), half=False)
    ratios = np.random.default_rng(1).uniform(1.0, 1.2, (len(boxes), 1))
    outer = taps.positions[:, :1] != 1
    polynomial = GramPolynomial.of(taps.values[0], taps.positions, outer, len(boxes))
    found = polynomial.at(boxes.centres(), ratios)
    for row in range(len(boxes)):
        weights = np.where(outer[:, 0], ratios[row, 0], 1.0)
        symbol = symbols(taps, boxes.take(np.array([row])), weights)[0]
        gram = -symbol.conj().T @ symbol
        assert np.allclose(np.tril(found[row]), np.tril(gram), rtol=0, atol=1e-11 * 150 * 6)


def test_inflated_samples_fail_where_rounding_is_all_there_is() -> None:
    taps = taps_of((3, 3, 3))
    boxes = Boxes.uniform(np.arange(1), np.array([20]), half=True)
    assert Samples(taps).failures(boxes, 1e-12).all()
    assert Samples(taps).failures(boxes, 0.0).all()
    assert not Samples(taps).failures(boxes, 1e3).any()
