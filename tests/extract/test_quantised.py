"""Integers and float8 with scales beside them are dequantised; without, they are a hole."""

import ml_dtypes
import numpy as np
import pytest

from specaudit.errors import UnsupportedModel
from tests.extract.making import Array, extracted, reasons, rewritten

RNG = np.random.default_rng(2)
Q = RNG.integers(-128, 128, (6, 8)).astype(np.int8)
ROWS = RNG.uniform(0.5, 2.0, 6).astype(np.float32)
CASES: dict[str, tuple[dict[str, Array], Array]] = {
    "one scale": ({"weight_scale": np.float32(0.5)}, Q * 0.5),
    "rows": ({"weight_scale": ROWS}, Q * ROWS[:, None].astype(float)),
    "rows as a column": ({"weight_scale": ROWS[:, None]}, Q * ROWS[:, None].astype(float)),
    "zero point": (
        {"scale": np.float32(0.5), "zero_point": np.int8(3)}, (Q.astype(float) - 3) * 0.5),
    "bitsandbytes": ({"SCB": ROWS}, Q * ROWS[:, None].astype(float) / 127),
    "groups of 4": (
        {"weight_scale": ROWS.reshape(3, 2)}, Q * np.kron(ROWS.reshape(3, 2), np.ones((2, 4)))),
    "blocks of 4": (
        {"weight_scale_inv": ROWS[:4].reshape(2, 2)},
        Q * np.kron(ROWS[:4].reshape(2, 2), np.ones((4, 4)))[:6].astype(float)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_scale_makes_a_weight(case: str) -> None:
    beside, expected = CASES[case]
    blocks_of_three = case == "blocks of 4"
    if blocks_of_three:  # 6 rows in 2 blocks are blocks of 3
        grid = beside["weight_scale_inv"].astype(float)
        expected = Q * np.kron(grid, np.ones((3, 4)))
    tensors = {"fc.weight": Q, **{f"fc.{name}": value for name, value in beside.items()}}
    found = extracted(tensors)
    (layer,) = found.layers
    assert (layer.kind, layer.dtype) == ("linear", "int8")
    np.testing.assert_allclose(layer.read(), expected, rtol=4e-16)
    assert not found.skipped
    assert layer.write is not None
    written = layer.write(expected / 8)
    assert "fc.weight" not in written
    (again,) = extracted(rewritten(tensors, layer, expected / 8)).layers
    np.testing.assert_allclose(again.read(), expected / 8, rtol=1e-14)
    with pytest.raises(UnsupportedModel, match="only be scaled"):
        layer.write(np.clip(expected, -1, 1))


def test_float8_with_a_scale() -> None:
    values = RNG.standard_normal((4, 4)).astype(ml_dtypes.float8_e4m3fn)
    (plain,) = extracted({"fc.weight": values}).layers
    np.testing.assert_array_equal(plain.read(), values)
    (scaled,) = extracted({"fc.weight": values, "fc.weight_scale": np.float32(0.25)}).layers
    np.testing.assert_array_equal(scaled.read(), values.astype(float) / 4)


def test_integers_that_cannot_be_read_are_holes() -> None:
    packed = {"fc.qweight": np.ones((4, 4), np.int32), "fc.scales": np.ones((1, 4), np.float16),
              "fc.qzeros": np.ones((1, 1), np.int32), "fc.g_idx": np.arange(4)}  # fmt: skip
    four_bit = {"fc.weight": np.ones((8, 1), np.uint8), "fc.weight.absmax": np.ones(2),
                "fc.weight.quant_map": np.ones(16)}  # fmt: skip
    misfit = {"fc.weight": Q, "fc.weight_scale": np.ones(5)}
    for tensors in (packed, four_bit, misfit, {"fc.weight": Q}):
        found = extracted(tensors)
        assert not found.layers
        assert not any(covered for _, covered in reasons(found).values())
