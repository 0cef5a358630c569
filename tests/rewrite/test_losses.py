"""A limit that a stored type can hardly hold: refused, or said."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import specaudit
from specaudit.errors import NotCertified
from specaudit.outputs import clamp as pages

SIZE = 20
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def half(folder: Path) -> Path:
    values = np.random.default_rng(3).standard_normal((SIZE, SIZE))
    save_file({"a.weight": values.astype(np.float16)}, folder / "half.safetensors")
    return folder / "half.safetensors"


def test_a_limit_that_zeros_alone_keep_is_refused(tmp_path: Path) -> None:
    path, out = half(tmp_path), tmp_path / "out.safetensors"
    # The norm of a matrix is at least its largest entry.
    for limits in ({"max": 0.9 * SMALLEST}, {"max_lipschitz": 0.9 * SMALLEST}):
        with pytest.raises(NotCertified, match=r"only zeros|no factors"):
            specaudit.clamp(path, out=out, **limits)
        assert not out.exists()


def test_zeros_that_are_asked_for_are_written_and_said(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = specaudit.clamp(half(tmp_path), max=0.0, out=out)
    assert not load_file(out)["a.weight"].any()
    assert pages.warnings(done) == ["a.weight: all 400 entries are zero now"]


def test_entries_lost_to_rounding_are_counted_and_said(tmp_path: Path) -> None:
    path, out = half(tmp_path), tmp_path / "out.safetensors"
    done = specaudit.clamp(path, max=8 * SMALLEST, out=out)
    old, new = (load_file(file)["a.weight"] for file in (path, out))
    (layer,) = done.changed
    assert layer.entries_lost == np.count_nonzero(old) - np.count_nonzero(new)
    assert layer.entries_subnormal == np.count_nonzero(new)  # all of them: the norm is
    (said,) = json.loads(pages.as_json(done))["warnings"]
    assert "too small for float16" in said
    for render in pages.RENDERERS.values():
        assert "too small for float16" in render(done)


def test_where_digits_are_kept_nothing_is_said(tmp_path: Path) -> None:
    done = specaudit.clamp(half(tmp_path), max=1.0)
    (layer,) = done.changed
    assert layer.entries_lost == 0
    assert pages.warnings(done) == []


def test_next_to_nothing_left_of_a_layer_is_said(tmp_path: Path) -> None:
    save_file({"a.weight": np.eye(3, dtype=np.float32)}, tmp_path / "one.safetensors")
    done = specaudit.clamp(tmp_path / "one.safetensors", max=1e-9)
    assert pages.warnings(done) == ["a.weight: scaled by 1e-09, next to nothing is left of it"]


def test_a_deep_cut_of_the_product_leaves_something_of_every_layer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = {f"{k}.weight": rng.standard_normal((6, 6)).astype(np.float32) for k in range(4)}
    save_file(layers, tmp_path / "in.safetensors")
    cut = specaudit.clamp(tmp_path / "in.safetensors", max_lipschitz=1e-20)
    upper = cut.products[1].upper
    assert upper is not None
    assert 1e-20 * (1 - 1e-3) <= upper <= 1e-20
    factors = [layer.factor for layer in cut.layers]
    # Equal but for the rounding of each to float32; by the least change one would be 1e-23.
    np.testing.assert_allclose(factors, factors[0], rtol=2**-20)
    assert any("one and the same factor" in note for note in cut.notes)
    least = specaudit.clamp(tmp_path / "in.safetensors", max_lipschitz=1.0)
    assert max(layer.factor for layer in least.layers) > 2 * min(
        layer.factor for layer in least.layers
    )
    assert least.notes == ()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("limit", [1e-4, 1e-5, 1e-6])
def test_no_cut_takes_more_of_a_layer_than_its_type_holds(
    limit: float, kind: type[np.floating], tmp_path: Path
) -> None:
    """By the least change all of it falls to the smaller weights, which float16 ends first."""
    rng = np.random.default_rng(0)
    small = (1e-3 * rng.standard_normal((20, 10))).astype(np.float16)
    large = (1e1 * rng.standard_normal((10, 20))).astype(kind)
    save_file({"small.weight": small, "large.weight": large}, tmp_path / "in.safetensors")
    cut = specaudit.clamp(tmp_path / "in.safetensors", max_lipschitz=limit)
    upper = cut.products[1].upper
    assert upper is not None
    assert 0.0 < upper <= limit
    # Of so many normal numbers a few lie within a step of zero, once they are of eight steps.
    assert max(layer.entries_lost for layer in cut.layers) < small.size / 8
