"""Operator norms of convolutions: known answers, tightness, and what is no convolution."""

import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from specaudit.errors import UnreadableModel
from specaudit.norms import at_size
from specaudit.norms.symbol import BARE, EXACT_RTOL, operator_norm
from specaudit.report import Geometry, Norm
from tests.convolutions.cases import CASES, Case
from tests.convolutions.reference import matrix

N = 8
C = math.cos(math.pi / (N + 1))
MEAN = np.ones((1, 1, 3, 3)) / 9
SOBEL = np.array([[[[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]]])
LAPLACIAN = np.array([[[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]])
CORNER = np.zeros((1, 1, 3, 3))
CORNER[0, 0, 0, 0] = 1.0
SMALL = np.array([[1.0, 2.0], [3.0, 4.0]])
SEPARABLE = np.einsum("oi,x,y->oixy", SMALL, [1.0, 2.0, 1.0], [1.0, 0.0, -1.0])


def line(
    pads: tuple[int, int] = (1, 1), stride: int = 1, dilation: int = 1, mode: str = "constant"
) -> Geometry:
    return Geometry((stride,), pads, (dilation,), 1, (N,), None, mode)  # type: ignore[arg-type]


def plane(mode: str = "constant", pad: int = 1, group: int = 1, size: int = N) -> Geometry:
    return Geometry((1, 1), (pad,) * 4, (1, 1), group, (size, size), None, mode)  # type: ignore[arg-type]


def taps(*values: float) -> NDArray[np.float64]:
    return np.array([[values]])


def brackets(norm: Norm, truth: float, width: float) -> bool:
    assert norm.status == "certified"
    assert norm.of == "operator"
    inside = norm.bracket.lower <= truth * (1 + 4e-16) and truth <= norm.bracket.upper * (1 + 4e-16)
    return inside and norm.bracket.upper - norm.bracket.lower <= width * truth


EXACT = {
    "mean of three on a circle": (taps(1, 1, 1) / 3, line(mode="wrap"), 1.0),
    "mean of three": (taps(1, 1, 1) / 3, line(), (1 + 2 * C) / 3),
    "binomial": (taps(1, 2, 1) / 4, line(), (1 + C) / 2),
    "binomial, dilated": (
        taps(1, 2, 1) / 4,
        line((2, 2), dilation=2),
        (1 + math.cos(math.pi / 5)) / 2,
    ),
    "binomial, strided, on a circle": (
        taps(1, 2, 1) / 4,
        line(stride=2, mode="wrap"),
        math.sqrt(0.5),
    ),
    "second difference": (taps(1, -2, 1), line(), 2 + 2 * C),
    "central difference": (taps(-1, 0, 1), line(), 2 * C),
    "difference, valid": (taps(-1, 1), line((0, 0)), 2 * math.cos(math.pi / 16)),
    "difference, full": (taps(-1, 1), line((1, 1)), 2 * math.cos(math.pi / 18)),
    "difference, same": (taps(-1, 1), line((0, 1)), 2 * math.cos(math.pi / 17)),
    "mean on a torus": (MEAN, plane("wrap"), 1.0),
    "mean": (MEAN, plane(), ((1 + 2 * C) / 3) ** 2),
    "sum": (9 * MEAN, plane(), (1 + 2 * C) ** 2),
    "sobel on a torus": (SOBEL, plane("wrap"), 8.0),
    "sobel": (SOBEL, plane(), (2 + 2 * C) * 2 * C),
    "laplacian on a torus": (LAPLACIAN, plane("wrap"), 8.0),
    "laplacian": (LAPLACIAN, plane(), 8 * math.cos(math.pi / 18) ** 2),
    "corner, no size": (CORNER, None, 1.0),
    "corner, reflected": (CORNER, plane("reflect"), 2.0),
    "corner, replicated": (CORNER, plane("edge"), 2.0),
    "ones, 3 to 2, on a torus": (np.ones((2, 3, 3, 3)), plane("wrap"), 9 * math.sqrt(6)),
    "depthwise mean on a torus": (np.repeat(MEAN, 4, axis=0), plane("wrap", group=4), 1.0),
    "separable on a torus": (SEPARABLE, plane("wrap"), 8 * math.sqrt(15 + math.sqrt(221))),
    "one tap, wrapped": (np.ones((1, 1, 1, 1)), plane("wrap", size=4), 2.0),
    "volume": (np.ones((1, 1, 2, 2, 2)), Geometry((2,) * 3, (0,) * 6, (1,) * 3), math.sqrt(8)),
    "pooling": (np.ones((1, 1, 2, 2)) / 4, Geometry((2, 2), (0,) * 4, (1, 1)), 0.5),
}


@pytest.mark.parametrize("name", EXACT)
def test_known_answer(name: str) -> None:
    kernel, geometry, truth = EXACT[name]
    assert brackets(operator_norm(kernel, geometry), truth, width=1e-9)


def test_known_answers_of_transposed_convolutions() -> None:
    apart = Geometry((2, 2), (0,) * 4, (1, 1))
    assert brackets(operator_norm(np.ones((1, 1, 2, 2)), apart, transposed=True), 2.0, 1e-9)
    kernel = np.random.default_rng(0).standard_normal((6, 5, 2, 2))
    norm = operator_norm(kernel, apart, transposed=True)
    assert norm.method == "exact"
    assert brackets(norm, float(np.linalg.norm(kernel.reshape(6, -1), 2)), EXACT_RTOL)


@pytest.mark.parametrize(
    ("kernel", "truth"),
    [
        (MEAN, 1.0),
        (SOBEL, 8.0),
        (LAPLACIAN, 8.0),
        (np.ones((2, 3, 3, 3)), 9 * math.sqrt(6)),
        (SEPARABLE, 8 * math.sqrt(15 + math.sqrt(221))),
        (taps(-1, 1), 2.0),
        (np.ones((1, 1, 2, 2, 2)), 8.0),
    ],
)
@pytest.mark.parametrize("rtol", [1e-2, 1e-5])
def test_known_answers_at_no_size(kernel: NDArray[np.float64], truth: float, rtol: float) -> None:
    norm = operator_norm(kernel, None, rtol=rtol)
    assert norm.reason == BARE
    assert brackets(norm, truth, rtol * 1.02)


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("size", [1, 3])
def test_maps_without_overlap_are_flattened(group: int, size: int) -> None:
    kernel = np.random.default_rng(group).standard_normal((8 * group, 5, size, size))
    norm = operator_norm(kernel, Geometry((3, 3), (1,) * 4, (1, 1), group))
    truth = np.linalg.norm(kernel.reshape(group, 8, -1), 2, axis=(1, 2)).max()
    assert norm.method == "exact"
    assert brackets(norm, float(truth), EXACT_RTOL)


def test_equal_groups_are_all_certified() -> None:
    kernel = np.repeat(np.random.default_rng(0).standard_normal((1, 6, 1)), 40, axis=0)
    norm = operator_norm(kernel, Geometry((1,), (0, 0), (1,), 40))
    assert brackets(norm, float(np.linalg.norm(kernel[0])), EXACT_RTOL)


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case.name)
def test_maps_too_large_to_write_out(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_size, "_DENSE_WORK", 0.0)
    geometry = Geometry(
        case.strides,
        case.pads,
        case.dilations,
        case.group,
        case.input,
        case.output_padding,
        case.mode,  # type: ignore[arg-type]
    )
    norm = operator_norm(case.values(), geometry, transposed=case.transposed)
    truth = float(np.linalg.norm(matrix(case), 2))
    assert norm.method in ("symbol", "padding*symbol", "exact")
    assert norm.bracket.lower <= truth * (1 + 1e-12)
    assert truth <= norm.bracket.upper * (1 + 1e-12)


def ritz(kernel: NDArray[np.float64], stride: int, size: int, transposed: bool) -> float:
    """Return a lower bound of the norm at a size: power iteration with torch's convolution."""
    weight = torch.from_numpy(kernel)
    shape = (1, kernel.shape[0 if transposed else 1], size, size)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape))

    def image(x: torch.Tensor) -> torch.Tensor:
        if transposed:
            return torch.nn.functional.conv_transpose2d(x, weight, stride=stride, padding=1)
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=1)

    for _ in range(300):
        (x,) = torch.autograd.functional.vjp(image, x, image(x))[1:]
        x = x / x.norm()
    return float(image(x).norm())


@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("kind", ["random", "smooth"])
def test_tight_at_64(stride: int, transposed: bool, kind: str) -> None:
    kernel = np.random.default_rng(7).standard_normal((4, 3, 3, 3))
    kernel = np.abs(kernel) if kind == "smooth" else kernel
    known = ritz(kernel, stride, 64, transposed)
    for size in (64, None):
        given = None if size is None else (size, size)
        geometry = Geometry((stride, stride), (1,) * 4, (1, 1), 1, given)
        norm = operator_norm(kernel, geometry, transposed=transposed)
        assert known <= norm.bracket.upper
        assert norm.bracket.upper <= 1.01 * known * (1 + 1e-3)  # 300 steps are not the end
        if size is not None:
            assert norm.bracket.relative_width <= 0.0105


def test_bare_kernel_covers_every_geometry() -> None:
    kernel = np.random.default_rng(3).standard_normal((6, 2, 3, 3))
    bare = operator_norm(kernel, None).bracket.upper
    for strides, dilations, group, size in [
        ((1, 1), (1, 1), 1, (9, 9)),
        ((2, 1), (1, 2), 2, (9, 9)),
        ((3, 3), (2, 2), 3, (12, 7)),
        ((1, 1), (4, 1), 6, (12, 9)),
        ((2, 2), (1, 1), 2, None),
    ]:
        geometry = Geometry(strides, (2, 1, 0, 3), dilations, group, size)
        assert operator_norm(kernel, geometry).bracket.lower <= bare


def test_sizes_grow_towards_the_supremum() -> None:
    kernel = np.random.default_rng(4).standard_normal((3, 3, 3))
    anywhere = operator_norm(kernel, Geometry((1,), (1, 1), (1,)), rtol=1e-6).bracket
    last = 0.0
    for size in (4, 8, 16, 32, 64, 128):
        found = operator_norm(kernel, Geometry((1,), (1, 1), (1,), 1, (size,))).bracket
        assert found.lower >= last * (1 - 1e-9)
        assert found.lower <= anywhere.upper
        last = found.lower
    assert last >= 0.99 * anywhere.lower


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_padding_without_a_size_covers_every_size(mode: str) -> None:
    kernel = np.random.default_rng(5).standard_normal((2, 2, 3))
    for stride in (1, 2):

        def of(size: tuple[int, ...] | None, stride: int = stride) -> Norm:
            return operator_norm(
                kernel,
                Geometry((stride,), (1, 1), (1,), 1, size, None, mode),  # type: ignore[arg-type]
            )

        anywhere = of(None).bracket
        for size in range(2 if mode == "reflect" else 1, 30):
            assert of((size,)).bracket.lower <= anywhere.upper
        assert of((200,)).bracket.upper >= anywhere.lower * 0.99


@pytest.mark.parametrize("exponent", [-1060, -1000, -200, 0, 200, 1000])
def test_scales(exponent: int) -> None:
    kernel = np.random.default_rng(6).integers(-3, 4, (3, 2, 3, 3)).astype(np.float64)
    plain = operator_norm(kernel, None)
    scaled = operator_norm(np.ldexp(kernel, exponent), None)
    assert scaled.status == "certified"
    assert scaled.bracket.lower <= math.ldexp(plain.bracket.lower, exponent)
    assert scaled.bracket.upper >= math.ldexp(plain.bracket.upper, exponent)
    assert scaled.bracket.relative_width <= 1.01e-2 or exponent < -1021


def test_a_norm_past_the_largest_number_is_unbounded() -> None:
    norm = operator_norm(np.full((4, 4, 3), 1.7e308), None)
    assert norm.status == "unbounded"
    assert norm.upper is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, ml_dtypes.bfloat16, np.int8])
def test_stored_types_are_widened(kind: type) -> None:
    kernel = np.random.default_rng(8).integers(-8, 9, (3, 2, 3, 3))
    assert operator_norm(kernel.astype(kind), None) == operator_norm(
        kernel.astype(np.float64), None
    )


@pytest.mark.parametrize("shape", [(5, 4, 3, 3), (40, 36, 3, 3), (6, 1, 3), (9, 5, 1, 1)])
@pytest.mark.parametrize("sized", [False, True])
def test_tensors_give_the_same_brackets(shape: tuple[int, ...], sized: bool) -> None:
    kernel = np.random.default_rng(9).standard_normal(shape)
    rank = len(shape) - 2
    size = (40,) * rank if sized else None
    geometry = Geometry((1,) * rank, (1,) * (2 * rank), (1,) * rank, 1, size)
    ours = operator_norm(kernel, geometry)
    theirs = operator_norm(torch.from_numpy(kernel), geometry)
    assert ours.method == theirs.method
    assert ours.bracket.lower == pytest.approx(theirs.bracket.lower, rel=1e-6)
    assert ours.bracket.upper == pytest.approx(theirs.bracket.upper, rel=1e-6)


def test_complex_kernels() -> None:
    rng = np.random.default_rng(10)
    kernel = rng.standard_normal((3, 2, 3)) + 1j * rng.standard_normal((3, 2, 3))
    waves = np.exp(-2j * np.pi * np.outer(np.arange(4096), np.arange(3)) / 4096)
    truth = np.linalg.norm(np.einsum("bt,oit->boi", waves, kernel), 2, axis=(1, 2)).max()
    norm = operator_norm(kernel, None, rtol=1e-5)
    assert norm.bracket.lower <= truth * (1 + 1e-6)
    assert truth <= norm.bracket.upper


def test_the_same_seed_gives_the_same_bracket() -> None:
    kernel = np.random.default_rng(11).standard_normal((16, 16, 3, 3))
    assert operator_norm(kernel, None, seed=3) == operator_norm(kernel, None, seed=3)


def test_nothing_and_zero() -> None:
    assert operator_norm(np.zeros((0, 3, 3)), None).bracket.upper == 0.0
    assert operator_norm(np.zeros((2, 3, 3)), None).bracket.upper == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_said(bad: float) -> None:
    kernel = np.ones((2, 2, 3))
    kernel[1, 0, 2] = bad
    norm = operator_norm(kernel, None)
    assert norm.status == "non_finite"
    assert norm.upper is None
    assert norm.reason == "1 NaN or infinite among 12 entries"


def test_repeating_padding_of_a_transposed_convolution_is_not_guessed() -> None:
    geometry = Geometry((1,), (1, 1), (1,), 1, None, None, "reflect")
    norm = operator_norm(np.ones((1, 1, 3)), geometry, transposed=True)
    assert norm.status == "not_computed"


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (Geometry((1,), (1, 1), (1,), 4), "4 groups do not divide 6 out channels"),
        (Geometry((1,), (1, 1), (1,), 0), "0 groups"),
        (Geometry((0,), (1, 1), (1,)), "no geometry of a kernel"),
        (Geometry((1,), (1, 1), (0,)), "no geometry of a kernel"),
        (Geometry((1,), (-1, 1), (1,)), "no geometry of a kernel"),
        (Geometry((1, 1), (1, 1, 1, 1), (1, 1)), "no geometry of a kernel"),
        (Geometry((1,), (1, 1), (1,), 1, (0,)), "no geometry of a kernel"),
        (Geometry((1,), (0, 0), (1,), 1, (2,)), "covers 3 places along axis 0"),
    ],
)
def test_an_impossible_geometry_is_an_error(geometry: Geometry, message: str) -> None:
    with pytest.raises(UnreadableModel, match=message):
        operator_norm(np.ones((6, 2, 3)), geometry)


def test_a_matrix_is_no_kernel() -> None:
    with pytest.raises(UnreadableModel, match="at least three axes"):
        operator_norm(np.ones((6, 2)), None)


def test_a_size_with_more_digits_than_rounding_leaves_takes_no_longer() -> None:
    """The search for the largest sample steps past its own rounding; it ended after minutes."""
    kernel = np.random.default_rng(0).standard_normal((40, 40, 3, 3))
    geometry = Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1, (24, 24), None, "wrap")
    sigma = np.linalg.norm(
        np.fft.fft2(kernel, (24, 24)).reshape(40, 40, -1).transpose(2, 0, 1), 2, axis=(1, 2)
    ).max()
    found = operator_norm(kernel, geometry, rtol=1e-15)
    assert found.upper is not None
    assert sigma * (1 - 1e-12) <= found.upper <= sigma * (1 + 1e-9)


def test_a_group_of_zeros_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors are zeros as well, which nothing divides by."""
    monkeypatch.setattr(at_size, "_DENSE_WORK", 0)
    kernel = np.zeros((4, 1, 4))
    kernel[2:] = np.random.default_rng(0).standard_normal((2, 1, 4))
    found = operator_norm(kernel, Geometry((3,), (1, 3), (2,), 2, (28,), None, "wrap"))
    assert found.status == "certified"
    assert found.lower is not None
    assert found.lower > 0.0


def test_a_large_kernel_takes_little_memory() -> None:
    """The phases of many taps are made for few frequencies at a time: gigabytes otherwise."""
    kernel = np.random.default_rng(0).standard_normal((2, 2, 40, 40))
    tracemalloc.start()
    found = operator_norm(kernel, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.status == "certified"
    assert peak < 256 << 20
