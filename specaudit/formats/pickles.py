"""The pickle machine, run symbolically: opcodes in, inert records out.

All opcodes of protocols 0 to 5 are followed, so what a real unpickler would build is seen;
what it would import, call or hash only becomes a record (`records`), after `callables` has
refused what is dangerous. Time and memory are bounded by counting opcodes and objects.
"""

import codecs
import struct
from collections.abc import Callable
from typing import Final

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats import callables
from specaudit.formats.callables import REBUILDERS, escaped
from specaudit.formats.machine import Ledger, Machine, TruncatedPickle
from specaudit.formats.records import Call, Global, Pairs

STOP: Final = 0x2E


def read_pickle(
    data: bytes, persistent: Callable[[object], object], ledger: Ledger, start: int = 0
) -> tuple[object, int]:
    """Read one pickle.

    Parameters
    ----------
    data : bytes
    persistent : callable
        Turns a persistent id into the record of what it stands for.
    ledger : Ledger
        Charged with what the pickle costs.
    start : int
        Where in `data` the pickle begins.

    Returns
    -------
    object
        Its top object.
    int
        Where it ends.

    Raises
    ------
    UnreadableModel
        It is truncated or damaged, exceeds a budget, or mentions what is dangerous.
    """
    machine = Machine(data, start, persistent, ledger)
    left = limits.PICKLE_OPCODES - ledger.opcodes
    while (opcode := machine.byte()) != STOP:
        handler = HANDLERS[opcode]
        if handler is None:
            raise UnreadableModel(f"pickle is damaged: no opcode {opcode}, at byte {machine.at}")
        handler(machine)
        left -= 1
        if not left:
            raise UnreadableModel(f"pickle has more than {limits.PICKLE_OPCODES} opcodes")
    ledger.opcodes = limits.PICKLE_OPCODES - left
    if machine.marks:
        raise UnreadableModel("pickle is damaged: it stops inside a container")
    return machine.pop(), machine.at


def _text(raw: bytes) -> str:
    """A pickled str; lone surrogates stay, since names may hold them."""
    return raw.decode("utf-8", "surrogatepass")


def _old_text(raw: bytes) -> str | bytes:
    """A str of Python 2: text if it can be, else bytes."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableModel("pickle is damaged: a name is not UTF-8") from error


def _proto(m: Machine) -> None:
    version = m.byte()
    if version > 5:
        raise UnreadableModel(f"pickle protocol {version} does not exist")


def _frame(m: Machine) -> None:
    if m.number(8) > m.end - m.at:
        raise TruncatedPickle("truncated pickle")


def _int_line(m: Machine) -> None:
    line = m.line()
    m.push(line == b"01" if line in (b"00", b"01") else _integer(line))


def _integer(line: bytes) -> object:
    """An integer in decimal digits; too long a one is kept as text."""
    digits = line.strip().removesuffix(b"L")
    if len(digits) > limits.INTEGER_BYTES:
        return f"integer of {len(digits)} digits"
    try:
        return int(digits)
    except ValueError as error:
        raise UnreadableModel("pickle is damaged: an integer without digits") from error


def _long(m: Machine, width: int) -> None:
    size = m.number(width, signed=width == 4)
    raw = m.take(size)
    if size > limits.INTEGER_BYTES:
        m.push(f"integer of {size} bytes")
    else:
        m.push(int.from_bytes(raw, "little", signed=True))


def _float_line(m: Machine) -> None:
    try:
        m.push(float(m.line()))
    except ValueError as error:
        raise UnreadableModel("pickle is damaged: a float without digits") from error


def _string_line(m: Machine) -> None:
    line = m.line().strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise UnreadableModel("pickle is damaged: a string without quotes")
    try:
        m.push(_old_text(codecs.escape_decode(line[1:-1])[0]))
    except ValueError as error:
        raise UnreadableModel("pickle is damaged: a string with a bad escape") from error


def _unicode_line(m: Machine) -> None:
    try:
        m.push(m.line().decode("raw-unicode-escape"))
    except UnicodeDecodeError as error:
        raise UnreadableModel("pickle is damaged: a string with a bad escape") from error


def _counted_text(m: Machine, width: int) -> None:
    try:
        m.make(_text(m.take(m.number(width))))
    except UnicodeDecodeError as error:
        raise UnreadableModel("pickle is damaged: a string is not UTF-8") from error


def _tuple_of(m: Machine, count: int) -> None:
    items = [m.pop() for _ in range(count)]
    m.make(tuple(reversed(items)))


def _extend(m: Machine, items: list[object]) -> None:
    """Append to a list, or to an object that acts as one."""
    target = m.top()
    if type(target) is list:
        target.extend(items)
    elif type(target) is Call and not _is_tensor(target):
        target.items = target.items or []
        target.items.extend(items)
    else:
        raise UnreadableModel("pickle is damaged: it appends to what is not a list")


def _set_items(m: Machine, flat: list[object]) -> None:
    """Assign keys of a dict, or of an object that acts as one."""
    if len(flat) % 2:
        raise UnreadableModel("pickle is damaged: a key without a value")
    pairs = zip(flat[::2], flat[1::2], strict=True)
    target = m.top()
    if type(target) is Pairs:
        target.pairs.extend(pairs)
    elif type(target) is Call and not _is_tensor(target):
        target.pairs = target.pairs or []
        target.pairs.extend(pairs)
    else:
        raise UnreadableModel("pickle is damaged: it assigns keys of what is not a dict")


def _is_tensor(target: Call) -> bool:
    return str(target.callee) in REBUILDERS


def _new_dict(m: Machine, flat: list[object]) -> None:
    m.make(Pairs())
    _set_items(m, flat)


def _build(m: Machine) -> None:
    state, target = m.pop(), m.top()
    if type(target) is not Call or _is_tensor(target):
        raise UnreadableModel("refused: pickle sets the state of what is not an instance")
    target.states = target.states or []
    target.states.append(state)


def _stack_global(m: Machine) -> None:
    qualified, module = m.pop(), m.pop()
    if type(qualified) is not str or type(module) is not str:
        raise UnreadableModel("pickle is damaged: a name is not text")
    m.make(callables.named(module, qualified))


def _inst(m: Machine) -> None:
    called = callables.named(_name(m.line()), _name(m.line()))
    m.make(callables.call(called, tuple(m.marked()), m.ledger.foreign))


def _obj(m: Machine) -> None:
    called, *args = m.marked() or [None]
    m.make(callables.call(called, tuple(args), m.ledger.foreign))


def _reduce(m: Machine) -> None:
    args, called = m.pop(), m.pop()
    m.make(callables.call(called, args, m.ledger.foreign))


def _newobj(m: Machine) -> None:
    args, called = m.pop(), m.pop()
    m.make(callables.instance(called, args))


def _newobj_ex(m: Machine) -> None:
    keywords, args, called = m.pop(), m.pop(), m.pop()
    m.make(callables.instance(called, args))
    if type(keywords) is Pairs and keywords.pairs:
        new_state = m.top()
        assert isinstance(new_state, Call)
        new_state.states = [keywords]


def _new_set(m: Machine, items: list[object]) -> None:
    m.make(Call(Global("builtins", "set"), (), items=items))


def _get(m: Machine, key: object) -> None:
    if type(key) is not int or key not in m.memo:
        raise UnreadableModel("pickle is damaged: it recalls what it never kept")
    m.push(m.memo[key])


def _put(m: Machine, key: object) -> None:
    if type(key) is not int or not 0 <= key < limits.PICKLE_MEMO:
        raise UnreadableModel("pickle is damaged: a bad memo index")
    m.charge()
    m.memo[key] = m.top()


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.marked()


def _refuse_extension(m: Machine) -> None:
    raise UnreadableModel("refused: pickle uses the extension registry")


def _refuse_persistent_text(m: Machine) -> None:
    label = escaped(m.line().decode("latin-1"))
    raise UnreadableModel(f"refused: pickle refers to {label} outside itself")


def _refuse_buffer(m: Machine) -> None:
    raise UnreadableModel("pickle refers to buffers outside the file")


Handler = Callable[[Machine], None]
OPCODES: Final[dict[bytes, Handler]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b"(": Machine.mark,
    b"0": _pop,
    b"1": lambda m: _void(m.marked()),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _int_line,
    b"L": lambda m: m.push(_integer(m.line())),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.byte()),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: _long(m, 1),
    b"\x8b": lambda m: _long(m, 4),
    b"F": _float_line,
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"S": _string_line,
    b"T": lambda m: m.make(_old_text(m.take(m.number(4, signed=True)))),
    b"U": lambda m: m.make(_old_text(m.take(m.byte()))),
    b"B": lambda m: m.make(m.take(m.number(4))),
    b"C": lambda m: m.make(m.take(m.byte())),
    b"\x8e": lambda m: m.make(m.take(m.number(8))),
    b"\x96": lambda m: m.make(m.take(m.number(8))),
    b"V": _unicode_line,
    b"X": lambda m: _counted_text(m, 4),
    b"\x8c": lambda m: _counted_text(m, 1),
    b"\x8d": lambda m: _counted_text(m, 8),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.make(tuple(m.marked())),
    b"\x85": lambda m: _tuple_of(m, 1),
    b"\x86": lambda m: _tuple_of(m, 2),
    b"\x87": lambda m: _tuple_of(m, 3),
    b"]": lambda m: m.make([]),
    b"l": lambda m: m.make(m.marked()),
    b"a": lambda m: _extend(m, [m.pop()]),
    b"e": lambda m: _extend(m, m.marked()),
    b"}": lambda m: m.make(Pairs()),
    b"d": lambda m: _new_dict(m, m.marked()),
    b"s": lambda m: _set_items(m, [m.pop(), m.pop()][::-1]),
    b"u": lambda m: _set_items(m, m.marked()),
    b"\x8f": lambda m: _new_set(m, []),
    b"\x90": lambda m: _extend(m, m.marked()),
    b"\x91": lambda m: _new_set(m, m.marked()),
    b"c": lambda m: m.make(callables.named(_name(m.line()), _name(m.line()))),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"i": _inst,
    b"o": _obj,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"b": _build,
    b"Q": lambda m: m.make(m.persistent(m.pop())),
    b"P": _refuse_persistent_text,
    b"g": lambda m: _get(m, _integer(m.line())),
    b"h": lambda m: _get(m, m.byte()),
    b"j": lambda m: _get(m, m.number(4)),
    b"p": lambda m: _put(m, _integer(m.line())),
    b"q": lambda m: _put(m, m.byte()),
    b"r": lambda m: _put(m, m.number(4)),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"\x82": _refuse_extension,
    b"\x83": _refuse_extension,
    b"\x84": _refuse_extension,
    b"\x97": _refuse_buffer,
    b"\x98": _refuse_buffer,
}
HANDLERS: Final = [OPCODES.get(bytes([code])) for code in range(256)]


def _void(items: list[object]) -> None:
    """Drop what was marked."""
