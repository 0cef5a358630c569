"""What is searched for in TorchScript's code, which is hostile text."""

import time
from pathlib import Path

import pytest

from specaudit.formats import pytorch
from specaudit.formats.torchscript import describe_class, literal
from tests.hostile.pickling import program
from tests.hostile.torch_code import SCRIPTED
from tests.hostile.zipping import Member, archive, checkpoint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("1.", 1.0),
        ("1.0000000000000001e-05", 1e-5),
        ("True", True),
        ('"zeros"', "zeros"),
        ("(2, 2)", (2, 2)),
        ("(1,)", (1,)),
        ("[1, 1]", (1, 1)),
        ("__import__", None),
        ("1if 1else 2", None),
        ('"a\\d"', None),
        ("", None),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert literal(text) == value


def test_a_class_that_convolves_twice_has_no_geometry_of_its_own() -> None:
    call = "    _0 = torch._convolution(x, w, b, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, False)\n"
    once = describe_class("__torch__.C", "  def forward(self, x):\n" + call)
    twice = describe_class("__torch__.C", "  def forward(self, x):\n" + call + call)
    assert once.constants["stride"] == (2, 2)
    assert not twice.constants


@pytest.mark.parametrize(
    "code",
    [
        b"class A(Module):\n" + b"  x : Final[" + b"[" * 500_000,
        b"class A(Module):\n" + b"  y\n" * 500_000,
        b"class A(Module):\n  __parameters__ = [" + b'"a", ' * 300_000,
        b"class Net(Module):\n" + b" torch._convolution(" * 50_000,
        b"class \xff\xfe(Module):\n",
        b"x" * (20 << 20),
    ],
    ids=range(6),
)
def test_code_is_searched_in_bounded_time(code: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    beside = [
        Member("archive/code/__torch__.py", code),
        Member("archive/constants.pkl", program(b")")),
    ]
    path.write_bytes(archive([*checkpoint(program(SCRIPTED)), *beside]))
    begun = time.process_time()
    (weight,) = pytorch.load(str(path)).weights
    assert time.process_time() - begun < 2
    assert weight.role == "unknown"
