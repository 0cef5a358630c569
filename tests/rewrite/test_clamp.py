"""Clamped weights, as stored: under the limit, not far under it, and nothing else changed."""

import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import specaudit
from specaudit import formats
from specaudit.errors import NotCertified, UnsupportedModel, UsageError
from specaudit.norms import symbol

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def random_tensors(count: int, dtype: torch.dtype, seed: int) -> dict[str, torch.Tensor]:
    """Matrices and kernels of many shapes and spectra."""
    rng = np.random.default_rng(seed)
    found = {}
    for index in range(count):
        if index % 2:
            shape = tuple(rng.integers(1, 7, 2)) + tuple(rng.integers(1, 4, 2))
        else:
            shape = tuple(rng.integers(1, 60, 2))
        values = rng.standard_normal(shape) * 10.0 ** rng.uniform(-1, 2)
        if index % 3 == 0:
            values *= rng.exponential(1.0, shape[1]).reshape(-1, *[1] * (len(shape) - 2))
        layer = "conv" if len(shape) == 4 else "fc"
        found[f"{layer}{index}.weight"] = torch.tensor(values).to(dtype)
    return found


def check_random(path: Path, name: str, count: int) -> None:
    dtype = DTYPES[name]
    save_file(random_tensors(count, dtype, 7), path / "in.safetensors")
    specaudit.clamp(path / "in.safetensors", max=1.0, out=path / "out.safetensors")
    old, new = load_file(path / "in.safetensors"), load_file(path / "out.safetensors")
    eps = float(ml_dtypes.finfo(np.dtype(getattr(ml_dtypes, name, name))).eps)
    for key, tensor in new.items():
        values = tensor.double().numpy()
        if values.ndim == 2:  # LAPACK is backward stable: a few units times the size
            largest = float(np.linalg.norm(values, 2))
            assert largest <= 1.0 + 1e-13
        else:
            norm = symbol.operator_norm(values, None, rtol=1e-6)
            assert norm.upper <= 1.0
            largest = norm.lower + 1e-6
        if torch.equal(tensor, old[key]):
            continue
        n = values.size / values.shape[0]
        # The factor itself is known to a millionth.
        assert largest >= 1.0 - 4 * eps * np.sqrt(n) - (1e-6 if values.ndim > 2 else 0.0)


@pytest.mark.parametrize("mode", ["scale", "project"])
@pytest.mark.parametrize("name", DTYPES)
def test_a_limit_that_is_less_than_a_rounding_away_is_kept(
    name: str, mode: str, tmp_path: Path
) -> None:
    """The first weights that are tried are then stored as those of before."""
    values = torch.tensor(np.random.default_rng(0).standard_normal((2, 8))).to(DTYPES[name])
    save_file({"fc.weight": values}, tmp_path / "in.safetensors")
    norm = float(np.linalg.norm(values.double().numpy(), 2))
    eps = float(torch.finfo(DTYPES[name]).eps)
    limit = norm * (1.0 - eps / 64)
    result = specaudit.clamp(tmp_path / "in.safetensors", max=limit, mode=mode)
    upper = result.layers[0].after.upper
    assert upper is not None
    assert limit * (1.0 - 4 * eps * np.sqrt(8)) <= upper <= limit


@pytest.mark.parametrize("name", DTYPES)
def test_random_weights_are_proved_under_the_limit_and_not_shrunk_needlessly(
    name: str, tmp_path: Path
) -> None:
    check_random(tmp_path, name, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", DTYPES)
def test_a_thousand_random_weights(name: str, tmp_path: Path) -> None:
    check_random(tmp_path, name, 334)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(3)
    state = {
        "big.weight": 3 * torch.randn(6, 8, generator=generator),
        "big.bias": torch.randn(6, generator=generator),
        "small.weight": 0.01 * torch.randn(4, 6, generator=generator),
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "norm.weight": torch.tensor([0.5, 2.0, -3.0, 0.0]),
        "steps": torch.tensor(17),
    }
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


@pytest.mark.parametrize("mode", ["scale", "project"])
def test_only_what_is_over_the_limit_changes_and_twice_changes_nothing(
    checkpoint: Path, tmp_path: Path, mode: str
) -> None:
    out, again = tmp_path / "out.pt", tmp_path / "again.pt"
    done = specaudit.clamp(checkpoint, max=1.0, out=out, mode=mode)
    assert {layer.name for layer in done.changed} == {"big.weight", "conv.weight", "norm.weight"}
    old, new = torch.load(checkpoint), torch.load(out)
    for name in ("big.bias", "small.weight", "steps"):
        assert torch.equal(old[name], new[name])
    if mode == "project":
        assert torch.equal(new["norm.weight"], torch.tensor([0.5, 1.0, -1.0, 0.0]))
    second = specaudit.clamp(out, max=1.0, out=again, mode=mode)
    assert second.changed == ()
    assert again.read_bytes() == out.read_bytes()
    for layer in done.layers:
        assert layer.after.upper is not None
        assert layer.after.upper <= 1.0


def test_the_report_says_factor_and_change(checkpoint: Path) -> None:
    done = specaudit.clamp(checkpoint, max=1.0)
    assert done.output is None
    big = next(layer for layer in done.layers if layer.name == "big.weight")
    weight = torch.load(checkpoint)["big.weight"].double().numpy()
    factor = 1 / np.linalg.norm(weight, 2)
    assert big.factor == pytest.approx(factor, rel=1e-6)
    assert big.change == pytest.approx((1 - factor) * np.linalg.norm(weight), rel=1e-6)
    assert big.relative_change == pytest.approx(1 - factor, rel=1e-6)
    assert (big.tensors, big.limit) == (("big.weight",), 1.0)


def test_limits_by_pattern_the_last_match_wins(checkpoint: Path) -> None:
    done = specaudit.clamp(checkpoint, max={"**": 1.0, "big.*": 2.0}, exclude=["conv.*"])
    assert {layer.name: layer.limit for layer in done.layers} == {
        "big.weight": 2.0,
        "small.weight": 1.0,
        "conv.weight": None,
        "norm.weight": 1.0,
    }
    after = {layer.name: layer.after.upper for layer in done.layers}
    assert 1.9999 < (after["big.weight"] or 0) <= 2.0
    only = specaudit.clamp(checkpoint, max=1.0, layers=["big.*"])
    assert [layer.name for layer in only.changed] == ["big.weight"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "no limit"),
        ({"max": float("nan")}, "not a limit"),
        ({"max": -1.0}, "not a limit"),
        ({"max": {"nothere.*": 1.0}}, "no layer matches"),
        ({"max": 1.0, "layers": ["nothere"]}, "no layer matches"),
        ({"max": 1.0, "mode": "squeeze"}, "no mode"),
        ({"max_lipschitz": 0.0}, "not a limit"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(checkpoint, arguments, words) -> None:
    with pytest.raises(UsageError, match=words):
        specaudit.clamp(checkpoint, **arguments)


def test_a_weight_with_a_nan_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    state = {"a.weight": torch.eye(3), "b.weight": torch.full((2, 2), float("nan"))}
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(NotCertified, match=r"b\.weight"):
        specaudit.clamp(tmp_path / "nan.pt", max=0.5, out=tmp_path / "out.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]
    done = specaudit.clamp(tmp_path / "nan.pt", max=0.5, exclude=["b.*"])
    assert [layer.name for layer in done.changed] == ["a.weight"]


def test_tied_weights_change_once_and_every_consumer_is_listed(tmp_path: Path) -> None:
    shared = 2 * torch.eye(5)
    torch.save({"embed.weight": shared, "head.weight": shared}, tmp_path / "tied.pt")
    done = specaudit.clamp(tmp_path / "tied.pt", max=1.0, out=tmp_path / "out.pt")
    new = torch.load(tmp_path / "out.pt")
    assert torch.equal(new["embed.weight"], new["head.weight"])
    assert new["embed.weight"].data_ptr() == new["head.weight"].data_ptr()
    assert new["embed.weight"][0, 0] == pytest.approx(1.0, rel=2**-22)
    consumers = {layer.name: layer.consumers for layer in done.layers}
    assert consumers == {"embed.weight": ("head.weight",), "head.weight": ("embed.weight",)}


def test_weight_norm_is_clamped_by_g_and_torch_applies_the_clamped_weight(tmp_path: Path) -> None:
    def make() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nn.Sequential(
                nn.utils.parametrizations.weight_norm(nn.Linear(5, 7)),
                nn.utils.parametrizations.spectral_norm(nn.Linear(7, 3)),
            ).eval()

    torch.manual_seed(0)
    net = make()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    specaudit.clamp(tmp_path / "net.pt", max=0.25, out=tmp_path / "out.pt")
    old, new = torch.load(tmp_path / "net.pt"), torch.load(tmp_path / "out.pt")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {
        "0.parametrizations.weight.original0",
        "1.parametrizations.weight.0._u",
    }
    again = make()
    again.load_state_dict(new)
    for layer in again:
        applied = np.linalg.norm(layer.weight.detach().double().numpy(), 2)
        # torch forms the weight in float32: a few roundings of entries under the norm.
        assert 0.249 < applied <= 0.25 * (1 + 16 * 2.0**-24)
    with pytest.raises(UnsupportedModel, match="only be scaled"):
        specaudit.clamp(tmp_path / "net.pt", max=0.1, layers=["1.*"], mode="project")


def test_a_live_module_is_changed_in_place_with_the_same_guarantee() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 9), nn.Conv2d(2, 3, 3), nn.Linear(4, 4).bfloat16())
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    parameters = {name: id(value) for name, value in net.named_parameters()}
    done = specaudit.clamp(net, max=0.5)
    assert {layer.name for layer in done.changed} == {"0.weight", "1.weight", "2.weight"}
    assert {name: id(value) for name, value in net.named_parameters()} == parameters
    assert all(parameter.requires_grad for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, kept[name]) == name.endswith("bias")
    for layer in specaudit.audit(net).layers:
        assert layer.norm.lower is not None
        assert layer.norm.lower <= 0.5
    assert specaudit.clamp(net, max=0.5).changed == ()


def test_stacks_and_directions_change_part_by_part(tmp_path: Path) -> None:
    stack = torch.stack([torch.eye(4), 3 * torch.eye(4), 0.5 * torch.eye(4)])
    save_file({"experts.w1": stack}, tmp_path / "in.safetensors")
    done = specaudit.clamp(tmp_path / "in.safetensors", max=1.0, out=tmp_path / "out.safetensors")
    assert [layer.name for layer in done.layers if layer.factor != 1.0] == ["experts.w1.1"]
    new = load_file(tmp_path / "out.safetensors")["experts.w1"]
    assert torch.equal(new[[0, 2]], stack[[0, 2]])
    assert new[1, 0, 0] == pytest.approx(1.0, rel=2**-22)


def test_a_write_that_is_not_what_was_proved_is_refused(checkpoint, tmp_path, monkeypatch) -> None:
    real = formats.save

    def forged(model, replaced, out, **options):
        return real(model, {name: replaced[name] * 1.5 for name in replaced}, out, **options)

    monkeypatch.setattr(formats, "save", forged)
    with pytest.raises(NotCertified, match="SA501"):
        specaudit.clamp(checkpoint, max=1.0, out=tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_the_product_is_brought_under_a_limit(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pt"
    done = specaudit.clamp(checkpoint, max_lipschitz=0.5, out=out)
    before, after = (product.upper for product in done.products)
    assert before is not None
    assert before > 0.5
    upper = specaudit.audit(out).product.upper
    assert upper == after
    assert upper is not None
    assert 0.5 * (1 - 1e-3) <= upper <= 0.5
    # Neither embeddings nor scales are factors of it.
    assert "norm.weight" not in {layer.name for layer in done.changed}
    assert specaudit.clamp(out, max_lipschitz=0.5).changed == ()
