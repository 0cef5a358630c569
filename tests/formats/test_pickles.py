"""The symbolic pickle machine, held against the real one on harmless objects."""

import collections
import datetime
import pickle
import pickletools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.errors import UnreadableModel
from specaudit.formats.callables import CALLABLE
from specaudit.formats.machine import Ledger
from specaudit.formats.pickles import HANDLERS, read_pickle
from specaudit.formats.records import Call, Global, Pairs, pairs_of, state_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 2000), 1 << 2000)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers())
    ),
    max_leaves=30,
)


def refuse(identity: object) -> object:
    raise AssertionError(identity)


def symbolic(data: bytes) -> object:
    found, end = read_pickle(data, refuse, Ledger())
    assert end == len(data)
    return found


def real(record: object) -> object:
    """The object that records of harmless calls stand for."""
    if isinstance(record, list):
        return [real(item) for item in record]
    if isinstance(record, tuple):
        return tuple(real(item) for item in record)
    if isinstance(record, Pairs):
        return {real(key): real(value) for key, value in record.pairs}
    if isinstance(record, Call):
        assert record.callee.module == "builtins"
        assert record.callee.name in ("set", "frozenset", "bytearray")
        given: Any = record.args[0] if record.args else []
        return set(given) | set(map(real, record.items or []))  # type: ignore[arg-type]
    return record


@settings(max_examples=150, deadline=None)
@given(OBJECTS, st.integers(0, 5))
def test_plain_objects_of_every_protocol(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert real(symbolic(data)) == value
    assert real(symbolic(pickletools.optimize(data))) == value


def test_every_opcode_is_known() -> None:
    known = {ord(op.code) for op in pickletools.opcodes}
    assert known - {ord(".")} == {code for code, handler in enumerate(HANDLERS) if handler}


class Plain:
    def __init__(self) -> None:
        self.x = 1
        self.inner = [2]


class Slotted:
    __slots__ = ("y",)

    def __init__(self) -> None:
        self.y = 3


@pytest.mark.parametrize("protocol", range(6))
def test_instances_keep_their_class_and_state(protocol: int) -> None:
    record = symbolic(pickle.dumps(Plain(), protocol))
    assert isinstance(record, Call)
    assert record.new
    assert record.callee.name == "Plain"
    assert state_of(record) == {"x": 1, "inner": [2]}
    if protocol >= 2:
        slotted = symbolic(pickle.dumps(Slotted(), protocol))
        assert isinstance(slotted, Call)
        assert state_of(slotted) == {"y": 3}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict([("a", 1), ("b", 2)]),
        collections.defaultdict(list, a=1, b=2),
        collections.Counter({"a": 1, "b": 2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kinds_of_dict_give_their_pairs(value: object, protocol: int) -> None:
    assert pairs_of(symbolic(pickle.dumps(value, protocol))) == [("a", 1), ("b", 2)]


def test_identity_is_kept() -> None:
    shared: list[object] = [1]
    shared.append(shared)
    record: Any = symbolic(pickle.dumps([shared, shared]))
    assert record[0] is record[1]
    assert record[0][1] is record[0]


def test_strings_of_python_2() -> None:
    assert symbolic(b"U\x03abc.") == "abc"
    assert symbolic(b"U\x02\xff\xfe.") == b"\xff\xfe"
    assert symbolic(b"S'a\\x41\\n'\n.") == "aA\n"
    assert symbolic(b"V\\u00e9\n.") == "é"
    assert symbolic(
        b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R."
    ) == (b"\xff")


def test_nothing_is_imported() -> None:
    """A name that does not exist is a record like any other, and its module is not sought."""
    record = symbolic(b"cno_such_package.inner\nThing\n.")
    assert isinstance(record, Global)
    assert str(record) == "no_such_package.inner.Thing"


@pytest.mark.parametrize("value", [datetime.datetime(2020, 1, 2), range(3), complex(1, 2)])
def test_harmless_calls_are_kept(value: object) -> None:
    record = symbolic(pickle.dumps(value))
    assert isinstance(record, Call)
    assert str(record.callee) in CALLABLE


def test_dict_keys_are_never_hashed() -> None:
    """Forty nested pairs are 2**40 leaves to a hash."""
    key = b")q\x00" + b"".join(b"0h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))
    record = symbolic(b"\x80\x02}" + key + b"Ns.")
    assert isinstance(record, Pairs)
    assert len(record.pairs) == 1


@pytest.mark.parametrize("name", ["eval", "exec", "compile", "open", "getattr", "__import__"])
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_builtins_that_act_are_refused_when_named(module: str, name: str) -> None:
    with pytest.raises(UnreadableModel, match=f"refused: pickle calls builtins.{name}"):
        symbolic(f"c{module}\n{name}\n.".encode())
