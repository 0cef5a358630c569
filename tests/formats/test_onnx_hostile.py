"""ONNX files that lie, climb, loop or explode."""

import time
import tracemalloc
from pathlib import Path

import pytest

from specaudit.errors import SpecauditError, UnreadableModel
from specaudit.formats import load
from tests.formats.mutants import mutants
from tests.formats.opening import expect, largest, read_all
from tests.hostile.cases import Case
from tests.hostile.onnx_files import (
    CASES,
    INNER,
    MATMUL,
    RAW,
    TRUE,
    WEIGHT,
    conditional,
    constant,
    function,
    model,
    outside,
    sparse,
    write,
)
from tests.hostile.onnx_files import node as make_node


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_hostile_files(case: Case, tmp_path: Path) -> None:
    start = time.perf_counter()
    made = expect(case, tmp_path)
    assert time.perf_counter() - start < 10
    if case.sigma is not None:
        assert made is not None
        assert largest(made) == pytest.approx(case.sigma, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    ["ext_unknown_keys", "ext_checksum_bad", "ext_hardlink", "g_opset_999", "g_ir_999"],
)
def test_what_could_not_be_confirmed_is_listed(name: str, tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == name]
    assert load(case.make(tmp_path)).missing


@pytest.mark.parametrize("name", ["ext_prepacked", "g_unsorted"])
def test_oddities_are_noted(name: str, tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == name]
    model = load(case.make(tmp_path))
    assert model.notes
    assert not model.missing


def test_training_info_is_listed_as_not_read(tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == "ext_in_training_info"]
    assert [name for name, _ in load(case.make(tmp_path)).missing] == ["training_info"]


def test_an_initializer_that_a_caller_can_replace_says_so(tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == "g_init_and_input"]
    made = load(case.make(tmp_path))
    (weight,) = made.weights
    assert "a caller can replace it" in weight.notes[0]
    assert made.graph is not None
    assert [info.name for info in made.graph.inputs] == ["x"]


def test_dimensions_that_may_be_anything_are_unknown(tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case.name == "g_input_dims_neg"]
    graph = load(case.make(tmp_path)).graph
    assert graph is not None
    assert graph.inputs[0].shape == (None, 4)


def test_only_the_declared_bytes_of_a_vast_data_file_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, model(initializers=[outside(("location", "w.bin"))]))
    with open(tmp_path / "w.bin", "wb") as file:
        file.write(RAW)
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        read_all(load(path))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_data_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, model(initializers=[outside(("location", "w.bin"))]))
    (tmp_path / "w.bin").write_bytes(RAW)
    (weight,) = load(path).weights
    (tmp_path / "w.bin").write_bytes(RAW + b"x")
    with pytest.raises(UnreadableModel, match="changed"):
        weight.read()


def test_mutants_are_read_or_refused_in_time(tmp_path: Path) -> None:
    call = make_node("x", "z", "F", domain="local")
    nodes = [TRUE, conditional([constant(WEIGHT), INNER]), call]
    proto = model(
        nodes,
        [outside(("location", "w.bin"), ("offset", "0"))],
        functions=[function("F", [constant(WEIGHT), MATMUL])],
        sparse_initializer=[sparse([0, 5, 10])],
    )
    proto.graph.sparse_initializer[0].values.name = "s"
    (tmp_path / "w.bin").write_bytes(RAW)
    content = write(tmp_path, proto).read_bytes()
    read_all(load(tmp_path / "model.onnx"))
    refused = 0
    for mutant in mutants(content, 500, seed=13):
        path = write(tmp_path, mutant)
        start = time.perf_counter()
        try:
            read_all(load(path))
        except SpecauditError:
            refused += 1
        assert time.perf_counter() - start < 2
    assert 100 < refused < 500
