"""Conformance: every method, on every device, brackets what is known."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.norms import METHODS, cholesky, lanczos, spectral, spectral_norm
from specaudit.operators import Array, composed, dense, grouped
from specaudit.report import Norm, Settings
from tests.norms.matrices import forty_digits, hadamard, known, with_singular_values

RTOL = 1e-6


def devices() -> list[str]:
    import torch

    return ["numpy", "torch-cpu", *(["torch-cuda"] if torch.cuda.is_available() else [])]


def norm_of(matrix: Array, method: str = "auto", device: str = "numpy", **changes: object) -> Norm:
    if device != "numpy":
        import torch

        matrix = torch.from_numpy(np.ascontiguousarray(matrix)).to(device.removeprefix("torch-"))
    return spectral_norm(dense(matrix), Settings(method=method, **changes))  # type: ignore[arg-type]


def assert_brackets(norm: Norm, truth: Fraction | float, width: float = RTOL) -> None:
    assert norm.status == "certified"
    assert norm.lower is not None
    assert norm.upper is not None
    assert Fraction(norm.lower) <= Fraction(truth) <= Fraction(norm.upper)
    # Below the normal numbers one unit in the last place is more than any relative width.
    assert norm.upper - norm.lower <= width * norm.upper + 4 * 5e-324


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("method", METHODS)
@given(case=known())
@settings(max_examples=40, deadline=None)
def test_known_spectra(method: str, device: str, case: tuple[Array, Fraction]) -> None:
    matrix, truth = case
    assert_brackets(norm_of(matrix, method, device), truth)


@pytest.mark.parametrize("method", METHODS)
@given(
    seed=st.integers(0, 10**6), is_complex=st.booleans(), shape=st.tuples(*[st.integers(1, 5)] * 2)
)
@settings(max_examples=25, deadline=None)
def test_forty_digits(method: str, seed: int, is_complex: bool, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 8, shape)
    if is_complex:
        matrix = matrix + 1j * rng.standard_normal(shape)
    assert_brackets(norm_of(matrix, method), forty_digits(matrix))


@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-11])
def test_width_follows_the_tolerance(rtol: float) -> None:
    matrix = np.random.default_rng(1).standard_normal((300, 200))
    norm = norm_of(matrix, rtol=rtol)
    truth = np.linalg.svd(matrix, compute_uv=False)[0]
    # LAPACK's own error is some n u: 1e-13 of slack on what it says.
    assert norm.lower is not None
    assert norm.upper is not None
    assert norm.lower <= truth * (1 + 1e-13)
    assert truth * (1 - 1e-13) <= norm.upper
    # And our own: sums of m and of 2n products at either end, in terms of the Frobenius norm.
    floor = 2 * (300 + 2 * 200) * 2.0**-53 * (np.linalg.norm(matrix) / truth) ** 2
    assert norm.upper - norm.lower <= (rtol + floor) * norm.upper


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(1300, 600), (600, 5000), (2100, 2100)])
def test_panels_blocks_and_in_place_factors(shape: tuple[int, int], is_complex: bool) -> None:
    """Past every block size: u vᵀ + small noise has a norm known to the noise's."""
    rng = np.random.default_rng(2)
    u, v = rng.standard_normal(shape[0]), rng.standard_normal(shape[1])
    matrix = np.outer(u, v / np.linalg.norm(v)) / np.linalg.norm(u) * 8.0
    noise = 1e-9 * rng.standard_normal(shape)
    if is_complex:
        if shape[0] == 2100:
            pytest.skip("the same code as (1300, 600), at four times the price of real numbers")
        matrix = matrix * np.exp(1j * rng.standard_normal((shape[0], 1)))
    norm = norm_of(matrix + noise)
    slack = np.linalg.norm(noise) + 1e-12
    assert norm.status == "certified"
    assert norm.lower is not None
    assert norm.upper is not None
    assert norm.lower - slack <= 8.0 <= norm.upper + slack
    assert norm.upper - norm.lower <= RTOL * norm.upper


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_start_orthogonal_to_the_top_singular_vector(
    method: str, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the start, one is in the null space of the rest: hide the norm from it.

    The factorisation breaks down then. Of a large matrix it has overwritten the Gram matrix,
    which the next attempt needs whole.
    """
    from specaudit.norms.spectral import _random

    if in_place:
        monkeypatch.setattr(cholesky, "IN_PLACE", 100)
    n = 128
    start = _random(n, [0], is_complex=False)
    start /= np.linalg.norm(start)
    hidden = np.random.default_rng(5).standard_normal(n)
    hidden -= (hidden @ start) * start
    hidden -= (hidden @ start) * start
    hidden /= np.linalg.norm(hidden)
    matrix = np.eye(n) + 99.0 * np.outer(hidden, hidden)
    norm = norm_of(matrix, method)
    assert norm.lower is not None
    assert norm.upper is not None
    assert 99.9999 < norm.lower <= norm.upper < 100.0001


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gap", [1.0, 1e-6, 1e-12, 0.0])
def test_clustered_top_values(method: str, gap: float) -> None:
    q = hadamard(128)
    values = np.linspace(0.5, 0.9, 128)
    values[:5] = [1.0 + gap, 1.0, 1.0, 1.0 - gap / 2, 1.0 - gap / 2]
    matrix = (q * values) @ q.T / 128.0
    norm = norm_of(matrix, method)
    # The product rounds: 128 terms of at most 2 each, in the worst of all cases.
    slack = 128 * 128 * 2.0**-52
    assert norm.lower is not None
    assert norm.upper is not None
    assert norm.lower - slack <= 1.0 + gap <= norm.upper + slack
    assert norm.upper - norm.lower <= RTOL * norm.upper


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("matrix", "truth"),
    [
        (np.zeros((7, 3)), 0.0),
        (np.array([[-2.5]]), 2.5),
        (np.diag([1.0, -7.25, 0.0]), 7.25),
        (np.eye(200)[::-1] * 3.0, 3.0),
        (np.full((1, 1), 5e-324), 5e-324),
        (np.array([[0.0, 1.7e308], [0.0, 0.0]]), 1.7e308),
    ],
    ids=["zero", "number", "diagonal", "permutation", "smallest", "largest"],
)
def test_one_entry_a_row_is_exact(method: str, matrix: Array, truth: float) -> None:
    norm = norm_of(matrix, method)
    assert (norm.lower, norm.upper, norm.status) == (truth, truth, "certified")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_entries(shape: tuple[int, int]) -> None:
    norm = norm_of(np.zeros(shape))
    assert (norm.lower, norm.upper, norm.status) == (0.0, 0.0, "certified")
    assert norm.reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 4096), (4096, 1)])
def test_vectors(method: str, shape: tuple[int, int]) -> None:
    vector = np.arange(1.0, 4097.0).reshape(shape)
    square = 4096 * 4097 * 8193 // 6
    norm = norm_of(vector, method)
    assert norm.lower is not None
    assert norm.upper is not None
    assert Fraction(norm.lower) ** 2 <= square <= Fraction(norm.upper) ** 2
    assert norm.upper - norm.lower <= RTOL * norm.upper


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, ml_dtypes.bfloat16])
def test_non_finite(method: str, bad: float, dtype: type) -> None:
    matrix = np.ones((20, 30)).astype(dtype)
    matrix[3, 4] = bad
    norm = norm_of(matrix, method)
    assert (norm.lower, norm.upper, norm.status) == (None, None, "non_finite")
    assert norm.reason is not None
    assert ("1 NaN" if math.isnan(bad) else "1 infinite") in norm.reason


def test_past_the_largest_number() -> None:
    norm = norm_of(np.full((4, 4), 1.5e308))
    assert (norm.upper, norm.status) == (None, "unbounded")
    assert norm.lower is not None
    assert norm.lower > 1.7e308
    assert norm.reason


@pytest.mark.parametrize("exponent", [-1070, -1060, -500, 500, 1010])
def test_scale_is_a_power_of_two_and_nothing_else(exponent: int) -> None:
    """Rounded outwards after it is undone: a subnormal result must not fall inside."""
    matrix, factor = with_singular_values([5, 3, 1, 1], 16)
    assert_brackets(norm_of(np.ldexp(matrix, exponent)), 5 * factor * Fraction(2) ** exponent)


def test_mixed_scales_underflow_without_harm() -> None:
    matrix = np.array([[1e300, 1e-300], [3e-310, 1e300]])
    truth = forty_digits(matrix)
    assert_brackets(norm_of(matrix), truth)


DTYPES = [
    np.float16, np.float32, np.float64, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64,
    np.complex64, np.complex128, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2, ml_dtypes.int4,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_stored_types_widen_exactly(dtype: type) -> None:
    """±1 and 0 times 4 are numbers of every type; their norm is that of the integers."""
    signs = hadamard(8)
    matrix = (signs if np.dtype(dtype).kind != "u" else signs + 1.0).astype(dtype)
    wide = matrix.astype(np.complex128 if np.dtype(dtype).kind == "c" else np.float64)
    assert_brackets(norm_of(matrix), forty_digits(wide))


def test_integers_past_the_mantissa() -> None:
    """2**60 + 1 is no binary64 number; the bracket holds the integers' norm all the same."""
    matrix = np.array([[2**60 + 1, 2**60 + 3], [2**60 + 5, 2**60 + 7]], dtype=np.int64)
    norm = norm_of(matrix, rtol=1e-15)
    total = sum(int(x) ** 2 for x in matrix.ravel())
    determinant = int(matrix[0, 0]) * int(matrix[1, 1]) - int(matrix[0, 1]) * int(matrix[1, 0])
    # sigma² = (T + sqrt(T² - 4 D²)) / 2, in integers of enough digits.
    shift = 200
    root = math.isqrt((total**2 - 4 * determinant**2) << (2 * shift))
    square = Fraction((total << shift) + root, 2 << shift)
    assert norm.lower is not None
    assert norm.upper is not None
    assert Fraction(norm.lower) ** 2 <= square <= Fraction(norm.upper) ** 2


def test_the_same_seed_gives_the_same_bits() -> None:
    matrix = np.random.default_rng(0).standard_normal((150, 130))
    assert norm_of(matrix) == norm_of(matrix)
    assert norm_of(matrix, certify=False) == norm_of(matrix, certify=False)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_certificate(method: str) -> None:
    matrix = np.random.default_rng(3).standard_normal((120, 200))
    truth = float(np.linalg.svd(matrix, compute_uv=False)[0])
    norm = norm_of(matrix, method, certify=False)
    assert (norm.upper, norm.status) == (None, "estimate")
    assert norm.lower is not None
    assert norm.estimate is not None
    assert truth * (1 - RTOL) <= norm.lower <= truth * (1 + 1e-13)
    assert norm.estimate == pytest.approx(truth, rel=2 * RTOL)
    krylov = method in ("auto", "lanczos")
    assert (norm.failure_probability is not None) == krylov
    if krylov:
        assert norm.estimate >= truth


def test_past_the_limit_nothing_is_called_certified() -> None:
    matrix = np.random.default_rng(4).standard_normal((60, 50))
    norm = norm_of(matrix, certify_limit=49)
    assert norm.status == "estimate"
    assert norm.reason is not None
    assert "proved is only <= " in norm.reason
    assert norm_of(matrix, certify_limit=50).status == "certified"


@pytest.mark.parametrize("method", ["lanczos", "power", "auto"])
def test_too_few_iterations_cost_no_width(method: str) -> None:
    matrix = np.random.default_rng(6).standard_normal((150, 140))
    norm = norm_of(matrix, method, iterations=1)
    truth = float(np.linalg.svd(matrix, compute_uv=False)[0])
    assert_brackets(norm, truth)


def test_operators_without_entries_are_estimated() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.standard_normal((30, 20)), rng.standard_normal((20, 40))
    norm = spectral_norm(composed(dense(first), dense(second)), Settings())
    truth = float(np.linalg.norm(first @ second, 2))
    assert norm.status == "estimate"
    assert norm.estimate is not None
    assert truth <= norm.estimate <= truth * (1 + RTOL)
    blocks = spectral_norm(grouped([dense(first), dense(second)]), Settings(method="power"))
    largest = max(np.linalg.norm(first, 2), np.linalg.norm(second, 2))
    assert blocks.estimate == pytest.approx(largest, rel=1e-5)
    broken = composed(dense(first), dense(np.full((20, 40), np.nan)))
    assert spectral_norm(broken, Settings()).status == "non_finite"


@pytest.mark.parametrize("top", [(1000, 1), (1000, 999), (10**7, 10**7 - 1), (1000, 1000)])
def test_a_guess_in_single_precision_is_proved_in_double(
    top: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for large matrices: also where single precision does not tell the top two apart."""
    kinds: list[np.dtype[np.generic]] = []
    plain = lanczos.tridiagonalise

    def tridiagonalise(product: object, start: Array, **options: object) -> lanczos.Ritz:
        kinds.append(start.dtype)
        return plain(product, start, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(spectral, "_SINGLE_FROM", 100)
    monkeypatch.setattr(lanczos, "tridiagonalise", tridiagonalise)
    matrix, factor = with_singular_values([*top, *range(126)], 512)
    norm = spectral_norm(dense(matrix))
    assert kinds == [np.float32]  # and no second run, in double precision
    assert norm.lower is not None
    assert norm.upper is not None
    assert norm.lower <= top[0] * factor <= norm.upper
    assert norm.bracket.relative_width <= 1e-6
