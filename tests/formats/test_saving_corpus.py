"""Every odd file that can be read can be saved: byte for byte, or with a tensor made zero."""

import importlib
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import pytest

import tests.hostile
from specaudit.errors import SpecauditError, UnsupportedModel
from specaudit.formats import load, save
from specaudit.model import Model
from tests.hostile.cases import Case, Collection


def readable() -> list[Case]:
    """The cases of the corpus that need not be refused."""
    names = [found.name for found in pkgutil.iter_modules(tests.hostile.__path__)]
    modules = [importlib.import_module(f"tests.hostile.{name}") for name in sorted(names)]
    found = [
        case
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Collection)
        for case in value
        if set(case.outcomes) & set("OWG")
    ]
    return list({id(case): case for case in found}.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", readable(), ids=repr)
def test_odd_files_come_through(case: Case, tmp_path: Path) -> None:
    for folder in ("in", "same", "zero"):
        (tmp_path / folder).mkdir()
    try:
        model = load(str(case.make(tmp_path / "in")))
    except SpecauditError:
        pytest.skip("it may be refused, and is")
    written = save(model, {}, tmp_path / "same" / "out")
    assert Path(written[-1]).read_bytes() in contents(tmp_path / "in")
    before = contents(tmp_path / "in")
    for weight in [*model.weights[:2], *model.weights[2:][-1:]]:
        if weight.size:
            zero(model, weight.name, weight.shape, tmp_path / "zero" / "out")
    assert contents(tmp_path / "in") == before


def zero(model: Model, name: str, shape: tuple[int, ...], out: Path) -> None:
    """Save the model with a tensor of zeros and read it again, or have that refused."""
    try:
        save(model, {name: np.zeros(shape)}, out, force=True)
    except UnsupportedModel:
        # bytes that another tensor needs, or a type without a zero
        overlap = [w for w in model.weights if w.name != name and w.storage]
        assert overlap or "e8m0" in str([w.dtype for w in model.weights if w.name == name])
        assert not out.exists()
        return
    found = {weight.name: weight for weight in load(str(out)).weights}
    assert not np.any(found[name].read().astype(np.complex128))
    if out.is_dir():
        shutil.rmtree(out)


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
