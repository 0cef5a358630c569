"""Adapters are merged where their scale is known, and a hole where it is not."""

import numpy as np
import pytest

from tests.extract.making import Array, extracted, reasons, rewritten

RNG = np.random.default_rng(1)
W, A, B = RNG.standard_normal((6, 5)), RNG.standard_normal((2, 5)), RNG.standard_normal((6, 2))
LAYOUTS: dict[str, tuple[str, str, str]] = {
    "loralib": ("fc.weight", "fc.lora_A", "fc.lora_B"),
    "peft": ("fc.base_layer.weight", "fc.lora_A.default.weight", "fc.lora_B.default.weight"),
    "kohya": ("fc.weight", "fc.lora_down.weight", "fc.lora_up.weight"),
    "diffusers": ("fc.weight", "fc.lora.down.weight", "fc.lora.up.weight"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_known_scale_gives_the_merged_weight(layout: str) -> None:
    base, down, up = LAYOUTS[layout]
    tensors = {base: W, down: A, up: B, "fc.alpha": np.float64(6.0), "fc.bias": np.zeros(6)}
    found = extracted(tensors)
    (layer,) = found.layers
    assert layer.name == "fc.weight"
    np.testing.assert_allclose(layer.read(), W + 3.0 * B @ A, rtol=0, atol=1e-14)
    assert [covered for _, covered in reasons(found).values()] == [True]
    (again,) = extracted(rewritten(tensors, layer, layer.read() / 4)).layers
    np.testing.assert_allclose(again.read(), (W + 3.0 * B @ A) / 4, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unknown_scale_is_a_hole_beside_what_is_measured(layout: str) -> None:
    base, down, up = LAYOUTS[layout]
    found = extracted({base: W, down: A, up: B})
    layers = {layer.name: layer for layer in found.layers}
    assert layers.keys() == {"fc.weight", "fc.lora"}
    np.testing.assert_array_equal(layers["fc.weight"].read(), W)
    assert any("without its adapter" in note for note in layers["fc.weight"].notes)
    np.testing.assert_allclose(layers["fc.lora"].read(), B @ A, rtol=0, atol=1e-14)
    assert reasons(found)[up][1] is False


def test_adapters_without_their_base_are_measured_as_products() -> None:
    found = extracted({"q.lora_A.weight": A, "q.lora_B.weight": B})
    assert [layer.name for layer in found.layers] == ["q.lora"]
    assert not all(covered for _, covered in reasons(found).values())


def test_a_convolutions_adapter() -> None:
    w = RNG.standard_normal((6, 5, 3, 3))
    a, b = RNG.standard_normal((2, 5, 3, 3)), RNG.standard_normal((6, 2, 1, 1))
    tensors: dict[str, Array] = {
        "c.weight": w, "c.lora_down.weight": a, "c.lora_up.weight": b, "c.alpha": np.float64(2),
    }  # fmt: skip
    (layer,) = extracted(tensors).layers
    assert layer.kind == "convolution"
    expected = w + np.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
    np.testing.assert_allclose(layer.read(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "extra",
    [
        {"fc.lora_A.other.weight": A, "fc.lora_B.other.weight": B},
        {"fc.lora_magnitude_vector.default.weight": np.ones(6)},
    ],
    ids=["two adapters", "DoRA"],
)
def test_what_cannot_be_merged_is_a_hole(extra: dict[str, Array]) -> None:
    base, down, up = LAYOUTS["peft"]
    found = extracted({base: W, down: A, up: B, "fc.alpha": np.float64(6), **extra})
    assert [layer.name for layer in found.layers] == ["fc.weight"]
    holes = [name for name, (_, covered) in reasons(found).items() if not covered]
    assert set(holes) >= {down, up, *extra}


def test_an_adapter_that_does_not_fit_is_a_hole() -> None:
    found = extracted({"fc.weight": W, "fc.lora_A": A, "fc.lora_B": np.ones((6, 3))})
    assert [layer.name for layer in found.layers] == ["fc.weight"]
    assert not any(covered for _, covered in reasons(found).values())
