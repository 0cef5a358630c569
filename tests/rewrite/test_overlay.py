"""New values over those of a model: what is kept of them, and what is read."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from specaudit import formats
from specaudit.formats.background import ahead
from specaudit.model import Model, Weight
from specaudit.rewrite.overlay import Overlay, multiple

RNG = np.random.default_rng(12)


def model_of(values: np.ndarray, *names: str, format: str = "safetensors") -> Model:
    def weight(name: str) -> Weight:
        dtype = str(values.dtype)
        return Weight(name, values.shape, dtype, values.copy, "s", (0, values.nbytes))

    return Model("m", format, str, tuple(weight(name) for name in names))


@pytest.mark.parametrize("factor", [0.75, float(np.float32(0.7123)), 0.7123, 2.0**-130])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_a_multiple_is_within_half_a_step_of_the_exact_product(name: str, factor: float) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    values = RNG.standard_normal(300).astype(dtype)
    found = multiple(values, factor)
    assert found.dtype == dtype
    info = ml_dtypes.finfo(dtype)
    half, tiny = float(info.eps) / 2, float(info.smallest_subnormal) / 2
    for old, new in zip(values.astype(float), found.astype(float), strict=True):
        exact = Fraction(old) * Fraction(factor)
        # By way of binary64 it may be rounded twice.
        bound = abs(exact) * Fraction(half * (1 + 2.0**-20)) + Fraction(tiny) * (1 + Fraction(1, 8))
        assert abs(Fraction(new) - exact) <= bound


def test_a_short_factor_rounds_once() -> None:
    values = RNG.standard_normal(2000).astype(np.float32)
    factor = float(np.float32(0.3))
    once = (values.astype(float) * factor).astype(np.float32)  # 48 bits: exact until the cast
    assert np.array_equal(multiple(values, factor), once)


MODELS = [
    path
    for path in sorted((Path(__file__).parents[2] / "sample_models").iterdir())
    if path.suffix not in {".py", ".md", ".data"} and path.name != "__pycache__"
]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_what_every_format_reads_is_nobody_elses(path: Path) -> None:
    """A multiple is made in the memory of what was read: it may not be read again from there."""
    for weight in formats.load(path).weights:
        first, second = weight.read(), weight.read()
        assert not np.shares_memory(first, second)
        if weight.dtype == "float32":
            assert first.flags.writeable
            assert 0 not in first.strides or first.size <= 1


def test_the_same_multiple_is_read_each_time() -> None:
    values = RNG.standard_normal((8, 9)).astype(np.float32)
    with closing(Overlay(model_of(values, "a"))) as overlay:
        overlay.scale("a", 0.5)
        for _ in range(2):
            assert np.array_equal(overlay["a"], values * np.float32(0.5))


def test_a_multiple_takes_no_room_and_all_names_read_it() -> None:
    values = RNG.standard_normal((8, 9)).astype(np.float32)
    with closing(Overlay(model_of(values, "a", "b"))) as overlay:
        assert overlay.scale("b", 0.5)
        assert set(overlay) == {"a", "b"}
        for weight in overlay.model.weights:
            assert np.array_equal(weight.read(), values * np.float32(0.5))
        assert overlay._file.tell() == 0
        assert overlay.dtype("a") == "float32"
        assert not overlay.scale("a", 0.5)  # which would be of the file's values, not of these
        overlay.unscale("a")
        assert len(overlay) == 0


def test_other_values_may_follow_a_multiple_and_are_kept() -> None:
    values = RNG.standard_normal((8, 9)).astype(np.float32)
    with closing(Overlay(model_of(values, "a"))) as overlay:
        overlay.scale("a", 0.5)
        assert overlay.put("a", values * 3)
        overlay.unscale("a")  # it is none
        assert np.array_equal(overlay["a"], values * 3)


@pytest.mark.parametrize("before", [False, True])
def test_values_taken_over_are_those_that_were_read(before: bool) -> None:
    """Of a multiple of a multiple, and of two names of one tensor, each counts once."""
    values = RNG.standard_normal((8, 9)).astype(np.float32)
    with closing(Overlay(model_of(values, "a", "b"))) as under:
        if before:
            under.scale("a", 0.7)
        with closing(Overlay(under.model)) as trial:
            trial.scale("a", 0.3)
            wanted = trial["b"]
            under.take(trial)
        assert np.array_equal(under["a"], wanted)
        assert np.array_equal(under["b"], wanted)


def test_a_live_module_changes_while_it_is_read_so_values_are_kept() -> None:
    values = RNG.standard_normal((8, 9)).astype(np.float32)
    with closing(Overlay(model_of(values, "a", format="module"))) as overlay:
        assert not overlay.scale("a", 0.5)


def test_integers_are_not_scaled() -> None:
    with closing(Overlay(model_of(np.arange(9, dtype=np.int8), "a"))) as overlay:
        assert not overlay.scale("a", 0.5)


def test_what_is_made_ahead_comes_in_order_and_its_errors_too() -> None:
    def fail() -> int:
        raise ValueError("here")

    assert list(ahead(iter([lambda: 1, lambda: 2, lambda: 3]))) == [1, 2, 3]
    assert list(ahead([])) == []
    made = ahead([lambda: 1, fail])
    assert next(made) == 1
    with pytest.raises(ValueError, match="here"):
        next(made)
