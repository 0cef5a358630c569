"""Convolutions at sizes that a file declares but nobody has the memory for."""

import time
import tracemalloc

import msgspec
import numpy as np
import pytest

from specaudit.norms import padding, symbol
from specaudit.report import Geometry


@pytest.mark.parametrize("seed", range(40))
def test_the_bracket_holds_at_the_size_that_is_not_made(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    transposed = seed % 2 == 0
    stride, size = int(rng.integers(1, 4)), int(rng.integers(16, 40))
    geometry = Geometry(
        strides=(stride,),
        pads=(int(rng.integers(3)), int(rng.integers(3))),
        dilations=(int(rng.integers(1, 3)),),
        input=(size,),
        output_padding=(int(rng.integers(stride)),) if transposed else None,
    )
    if not transposed:
        mode = str(rng.choice(["constant", "reflect", "edge", "wrap"]))
        geometry = msgspec.structs.replace(geometry, padding_mode=mode)
    kernel = rng.standard_normal((2, 2, 3))
    true = symbol.operator_norm(kernel, geometry, transposed=transposed, rtol=1e-9)
    monkeypatch.setattr(symbol, "_is_vast", lambda _, asked, __: asked is geometry)
    monkeypatch.setattr(symbol, "_INSIDE", int(rng.integers(3, 12)))
    vast = symbol.operator_norm(kernel, geometry, transposed=transposed, rtol=1e-9)
    assert vast.bracket.lower <= true.bracket.upper
    assert vast.bracket.upper >= true.bracket.lower


@pytest.mark.parametrize("size", [1 << 12, 1 << 31, 1 << 62])
def test_a_declared_size_takes_no_memory(size: int) -> None:
    kernel = np.ones((4, 4, 3, 3))
    geometry = Geometry((1, 1), (1, 1, 1, 1), (1, 1), input=(size, size))
    tracemalloc.start()
    try:
        norm = symbol.operator_norm(kernel, geometry)
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()
    assert norm.bracket.lower <= 36.0 <= norm.bracket.upper
    assert norm.bracket.relative_width < 0.02


def test_vast_pads_are_not_tried_out() -> None:
    start = time.perf_counter()
    assert padding.worst_multiplicity(1 << 40, 3, "edge", 1) == (1 << 40) + 4
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_the_bound_of_vast_pads_holds(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = padding.worst_multiplicity(7, 5, mode, 1)
    monkeypatch.setattr(padding, "_TRIED", 0)
    assert padding.worst_multiplicity(7, 5, mode, 1) >= tried
