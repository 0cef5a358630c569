"""Damaged copies of good PyTorch files: read, or refused in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from specaudit.errors import SpecauditError
from specaudit.formats import exported, pytorch
from specaudit.model import Model
from tests.formats.mutants import mutants
from tests.formats.opening import read_all
from tests.hostile.exported_files import laid, pt2
from tests.hostile.pickling import dict_of, list_of, program, tensor, text
from tests.hostile.torch_code import MODULE, SCRIPTED
from tests.hostile.torch_files import legacy
from tests.hostile.torch_pickles import META, sparse
from tests.hostile.zipping import Member, archive, checkpoint

SAMPLES = Path(__file__).parents[2] / "sample_models"
PICKLES = {
    "state_dict": dict_of(w=tensor(), v=list_of(tensor()), epoch=text("x")),
    "module": b"cuser\nNet\n)\x81" + MODULE + b"b",
    "scripted": SCRIPTED,
    "meta": dict_of(w=tensor(), m=META),
}
SEEDS = {
    "zip": archive(checkpoint()),
    "legacy": legacy(),
    "sparse": sparse((0, 1, 0, 1), (4, 4)),
    "sample_torchscript": (SAMPLES / "lstm.torchscript").read_bytes(),
    "sample_legacy": (SAMPLES / "lstm_legacy.pth").read_bytes(),
    "sample_module": (SAMPLES / "lstm_module.pt").read_bytes(),
}


def survive(content: bytes, path: Path, load: Callable[[str], Model] = pytorch.load) -> None:
    path.write_bytes(content)
    refused = None
    try:
        read_all(load(str(path)))
    except SpecauditError as error:
        refused = error
    if refused is not None:
        assert refused.exit_code == 3
        assert refused.where
        # the outer catch-all is for what nobody has met; these seeds have been met
        assert not refused.message.startswith("damaged, or of a kind"), refused.__cause__


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_files(seed: str, tmp_path: Path) -> None:
    for content in mutants(SEEDS[seed], 150, 7):
        survive(content, tmp_path / "m.pt")


@pytest.mark.parametrize("seed", PICKLES)
def test_damaged_pickles_in_sound_archives(seed: str, tmp_path: Path) -> None:
    for pickle in mutants(program(PICKLES[seed]), 400, 8):
        extra = [Member("archive/constants.pkl", program(b")"))] if seed == "scripted" else []
        survive(archive([*checkpoint(pickle), *extra]), tmp_path / "m.pt")


def test_damaged_programs(tmp_path: Path) -> None:
    for content in mutants(pt2(laid()), 150, 9):
        survive(content, tmp_path / "m.pt2", exported.load)


def test_damaged_layouts_in_sound_archives(tmp_path: Path) -> None:
    whole = pt2(laid())
    at = whole.index(b'{"config"')
    config = whole[at : whole.index(b"}}}}", at) + 4]
    for damaged in mutants(config, 300, 10):
        survive(pt2(None, config=damaged), tmp_path / "m.pt2", exported.load)


def test_every_truncation(tmp_path: Path) -> None:
    whole = archive(checkpoint())
    for length in range(len(whole)):
        path = tmp_path / "m.pt"
        path.write_bytes(whole[:length])
        with pytest.raises(SpecauditError):
            pytorch.load(str(path))
