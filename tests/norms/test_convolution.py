"""The map without a matrix: it and its adjoint are one, and torch's."""

import numpy as np
import pytest
import torch

from specaudit.errors import UnreadableModel
from specaudit.norms.convolution import Placed
from specaudit.report import Geometry
from tests.convolutions.cases import CASES, Case


def placed(case: Case, kind: str = "numpy") -> Placed:
    geometry = Geometry(
        case.strides,
        case.pads,
        case.dilations,
        case.group,
        case.input,
        case.output_padding,
        case.mode,  # type: ignore[arg-type]
    )
    kernel = case.values() if kind == "numpy" else torch.from_numpy(case.values())
    return Placed.of(kernel, geometry, transposed=case.transposed)


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.name)
def test_adjoint(case: Case) -> None:
    map_, rng = placed(case), np.random.default_rng(0)
    rows, columns = map_.shape
    x, y = rng.standard_normal((3, columns)), rng.standard_normal((3, rows))
    forth, back = map_.apply(x), map_.adjoint(y)
    assert forth.shape == (3, rows)
    assert back.shape == (3, columns)
    assert np.allclose((forth * y).sum(axis=1), (x * back).sum(axis=1), rtol=1e-11)
    tensors = placed(case, "torch")
    assert np.allclose(tensors.apply(torch.from_numpy(x)).numpy(), forth, rtol=0, atol=1e-10)
    assert np.allclose(tensors.adjoint(torch.from_numpy(y)).numpy(), back, rtol=0, atol=1e-10)
    z = x[0] + 1j * x[1]
    assert np.allclose(map_.operator().matvec(z), forth[0] + 1j * forth[1], rtol=0, atol=1e-10)


def test_against_torch() -> None:
    rng = np.random.default_rng(1)
    kernel, x = rng.standard_normal((6, 2, 3, 2)), rng.standard_normal((4, 4, 9, 8))
    geometry = Geometry((2, 1), (1, 0, 1, 0), (1, 2), 2, (9, 8))
    found = Placed.of(kernel, geometry, transposed=False).apply(x.reshape(4, -1))
    truth = torch.nn.functional.conv2d(
        torch.from_numpy(x),
        torch.from_numpy(kernel),
        stride=(2, 1),
        padding=(1, 0),
        dilation=(1, 2),
        groups=2,
    )
    assert np.allclose(found, truth.numpy().reshape(4, -1), rtol=0, atol=1e-12)


def test_a_kernel_that_does_not_fit_is_an_error() -> None:
    geometry = Geometry((1, 1), (1, 0, 1, 0), (1, 1), 1, (5, 2))
    with pytest.raises(UnreadableModel, match="covers 3 places along axis 1"):
        Placed.of(np.ones((1, 1, 3, 3)), geometry, transposed=False)


def test_a_window_inside_the_input_is_recognised() -> None:
    def full(size: int, stride: int, pads: tuple[int, int], mode: str = "constant") -> bool:
        geometry = Geometry((stride,), pads, (1,), 1, (size,), None, mode)  # type: ignore[arg-type]
        return Placed.of(np.ones((1, 1, 3)), geometry, transposed=False).has_full_window

    assert full(3, 1, (0, 0))
    assert full(3, 1, (1, 1))
    assert not full(2, 1, (1, 1))
    assert not full(3, 4, (1, 1))
    assert not full(2, 1, (1, 1), "edge")
    assert full(4, 4, (0, 0))
