"""Sharded sets and folders."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from specaudit.errors import UnreadableModel
from specaudit.formats import load
from specaudit.formats.index import Shards
from tests.formats.opening import expect, largest
from tests.hostile.cases import Case
from tests.hostile.safetensors_files import CASES, GOOD, sharded

SHARDED = [case for case in CASES if case.name.startswith("idx_")]


@pytest.mark.parametrize("case", SHARDED, ids=repr)
def test_hostile_indexes(case: Case, tmp_path: Path) -> None:
    model = expect(case, tmp_path)
    if case.sigma is not None:
        assert model is not None
        assert largest(model) == pytest.approx(case.sigma, rel=1e-12)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    weight_map = {}
    for shard in ("a.safetensors", "b.safetensors"):
        tensors = {f"{shard[0]}.{i}": rng.normal(size=(3, 2)) for i in range(2)}
        save_file(tensors, tmp_path / shard)
        weight_map |= dict.fromkeys(tensors, shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 192}, "weight_map": weight_map}))
    return index


def test_the_index_and_its_folder_are_the_same_model(shards: Path) -> None:
    for path in (shards, shards.parent):
        model = load(path)
        assert sorted(weight.name for weight in model.weights) == ["a.0", "a.1", "b.0", "b.1"]
        assert model.format == "safetensors"
        assert model.path == str(path)
        assert model.digest() == hashlib.sha256(shards.read_bytes()).hexdigest()
        assert model.notes == model.missing == ()
        assert isinstance(model.source, Shards)
        assert list(model.source.models) == ["a.safetensors", "b.safetensors"]


def test_every_missing_shard_is_named(shards: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (shards.parent / name).unlink()
    with pytest.raises(UnreadableModel, match=r"a\.safetensors.*b\.safetensors"):
        load(shards)


def test_every_missing_tensor_is_named(tmp_path: Path) -> None:
    places = dict.fromkeys(["w", "left", "right"], "s.safetensors")
    with pytest.raises(UnreadableModel, match=r"left.*right"):
        load(sharded(tmp_path, places, s_safetensors=GOOD))


def test_a_tensor_that_the_index_hides_is_read_and_told(shards: Path) -> None:
    content = json.loads(shards.read_text())
    del content["weight_map"]["b.1"]
    shards.write_text(json.dumps(content))
    model = load(shards)
    assert "b.1" in [weight.name for weight in model.weights]
    ((name, reason),) = model.missing
    assert name == "b.1"
    assert "not in the index" in reason


def test_a_folder_with_one_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    model = load(tmp_path)
    assert model.path == str(tmp_path)
    assert len(model.weights) == 1


def test_a_folder_with_two_models_asks_which(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.onnx"):
        (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(UnreadableModel, match="2 model files") as caught:
        load(tmp_path)
    assert "b.onnx" in caught.value.help
