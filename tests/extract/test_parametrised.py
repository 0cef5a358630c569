"""Parametrised weights equal what torch's own module applies in eval mode."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from specaudit.errors import UnsupportedModel
from specaudit.extract import matrices
from specaudit.formats.module import load
from tests.extract.making import extracted, nothing_vanishes, reasons, rewritten

Wrap = Callable[[nn.Module], nn.Module]


def old_weight_norm(module: nn.Module, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module, **options)  # type: ignore[arg-type]


def trained(module: nn.Module) -> nn.Module:
    """Move the weights after the last power iteration, as an optimizer's step does."""
    module.train()
    for _ in range(5):
        module(torch.randn((5, 6) if isinstance(module, nn.Linear) else (2, 6, 7, 7)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.3).add_(0.01 * torch.randn_like(parameter))
    return module.eval()


CASES: dict[str, tuple[Wrap, Callable[[], nn.Module]]] = {
    "weight_norm new": (parametrizations.weight_norm, lambda: nn.Linear(6, 4)),
    "weight_norm old": (old_weight_norm, lambda: nn.Linear(6, 4)),
    "weight_norm dim 1": (
        lambda m: parametrizations.weight_norm(m, dim=1), lambda: nn.Linear(6, 4)),
    "weight_norm whole": (lambda m: old_weight_norm(m, dim=None), lambda: nn.Linear(6, 4)),
    "weight_norm conv": (parametrizations.weight_norm, lambda: nn.Conv2d(6, 4, 3)),
    "weight_norm one row": (parametrizations.weight_norm, lambda: nn.Linear(6, 1)),
    "spectral_norm new": (parametrizations.spectral_norm, lambda: nn.Linear(6, 4)),
    "spectral_norm old": (nn.utils.spectral_norm, lambda: nn.Linear(6, 4)),
    "spectral_norm square": (parametrizations.spectral_norm, lambda: nn.Linear(6, 6)),
    "spectral_norm conv": (nn.utils.spectral_norm, lambda: nn.Conv2d(6, 4, 3)),
    "spectral_norm transposed": (
        parametrizations.spectral_norm, lambda: nn.ConvTranspose2d(6, 4, 3)),
    "spectral_norm square transposed": (
        nn.utils.spectral_norm, lambda: nn.ConvTranspose2d(6, 6, 3)),
    "pruned": (lambda m: prune.l1_unstructured(m, "weight", 0.5), lambda: nn.Linear(6, 4)),
}  # fmt: skip


@pytest.mark.parametrize("with_classes", [False, True], ids=["state dict", "module"])
@pytest.mark.parametrize("case", CASES)
def test_the_effective_weight_is_torchs(case: str, with_classes: bool) -> None:
    torch.manual_seed(0)
    wrap, make = CASES[case]
    net = nn.Sequential(trained(wrap(make())))
    if with_classes:
        model = load(net)
        found = matrices(model)
        nothing_vanishes(model, found)
    else:
        found = extracted({name: value.numpy() for name, value in net.state_dict().items()})
    net(torch.randn((2, 6, 7, 7) if "conv" in case or "transposed" in case else (2, 6)))  # hooks
    expected = net[0].weight.detach().numpy()
    (layer,) = found.layers
    assert layer.name == "0.weight"
    # torch computes it in float32: a norm of n terms, a product, a quotient.
    bound = 2.0**-24 * (expected[0].size + expected.shape[0] + 8) * np.abs(expected).max()
    np.testing.assert_allclose(layer.read(), expected, rtol=0, atol=bound)
    assert all(not covered or reason == "bias" for reason, covered in reasons(found).values())
    if "transposed" in case and with_classes:
        assert layer.kind == "convolution_transposed"


@pytest.mark.parametrize("case", [name for name in CASES if "weight_norm" in name])
def test_weight_norm_is_written_through_g(case: str) -> None:
    torch.manual_seed(1)
    wrap, make = CASES[case]
    net = nn.Sequential(wrap(make()).eval())
    tensors = {name: value.numpy() for name, value in net.state_dict().items()}
    (layer,) = extracted(tensors).layers
    assert layer.write is not None
    before = layer.read()
    assert len(layer.write(before / 3)) == 1
    for wanted in (before / 3, np.sign(before) * np.minimum(np.abs(before), 0.2)):
        (again,) = extracted(rewritten(tensors, layer, wanted)).layers
        # Norms of at most 54 numbers, twice, and a product.
        np.testing.assert_allclose(again.read(), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", ["spectral_norm new", "spectral_norm old"])
def test_spectral_norm_is_scaled_by_u_and_torch_applies_it_in_eval_mode(case: str) -> None:
    wrap, make = CASES[case]
    net = nn.Sequential(trained(wrap(make())))
    state = net.state_dict()
    (layer,) = extracted({name: value.numpy() for name, value in state.items()}).layers
    assert layer.write is not None
    assert any("eval mode" in note for note in layer.notes)
    wanted = layer.read() / 3
    ((name, values),) = layer.write(wanted).items()
    state[name].copy_(torch.from_numpy(values).float())
    net(torch.randn(2, 6))  # hooks
    applied = net[0].weight.detach().numpy()
    bound = 2.0**-24 * (applied[0].size + applied.shape[0] + 8) * np.abs(applied).max()
    np.testing.assert_allclose(applied, wanted, rtol=0, atol=bound)
    with pytest.raises(UnsupportedModel, match="only be scaled"):
        layer.write(np.eye(4, 6))


def test_a_direction_of_zeros_is_not_a_number_as_in_torch() -> None:
    tensors = {"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.array([[3.0, 4.0], [0.0, 0.0]])}
    values = extracted(tensors).layers[0].read()
    np.testing.assert_allclose(values[0], [0.6, 0.8])
    assert np.isnan(values[1].astype(float)).all()


def test_extreme_directions_neither_vanish_nor_overflow() -> None:
    for size in (1e-200, 1e200):
        v = np.array([[3.0, 4.0]]) * size
        (layer,) = extracted({"fc.weight_g": np.ones((1, 1)), "fc.weight_v": v}).layers
        np.testing.assert_allclose(layer.read(), [[0.6, 0.8]], rtol=1e-15)


class Symmetric(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu() + x.triu(1).T


def test_an_unknown_parametrisation_is_a_hole() -> None:
    net = nn.Sequential(nn.Linear(4, 4))
    parametrize.register_parametrization(net[0], "weight", Symmetric())
    orthogonal = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)))
    stacked = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)))
    parametrize.register_parametrization(stacked[0], "weight", Symmetric())
    for module, known in ((net, False), (orthogonal, False), (stacked, True)):
        model = load(module)
        found = matrices(model)
        nothing_vanishes(model, found)
        assert not found.layers, known
        assert not all(covered for _, covered in reasons(found).values())


def test_old_spectral_norm_without_v_is_a_hole() -> None:
    found = extracted({"fc.weight_orig": np.eye(3), "fc.weight_u": np.ones(3)})
    assert not found.layers
    assert [covered for _, covered in reasons(found).values()] == [False, False]
