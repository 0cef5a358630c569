"""A walk over what a pickle holds: every tensor under the name that its containers give it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.callables import REBUILDERS, WRAPPERS
from specaudit.formats.files import shown
from specaudit.formats.records import Call, Pairs, Storage, pairs_of, state_of

Role: TypeAlias = Literal["parameter", "buffer", "optimizer", "unknown"]

OPTIMIZER_KEYS: Final = frozenset(["optim", "optims", "optim_state", "optim_state_dict"])
BOOKKEEPING: Final = frozenset(["_parameters", "_buffers", "_modules"])
SCALARS: Final = (bool, int, float, str)
INERT: Final = frozenset([bool, int, float, str, bytes, type(None)])


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Where an object was found: a chain of labels, sharing the links it has in common."""

    parent: "Path | None" = None
    label: str = ""
    depth: int = 0

    def __truediv__(self, label: str) -> "Path":
        return Path(self, label, self.depth + 1)

    def __str__(self) -> str:
        labels = []
        here = self
        while here.parent is not None:
            labels.append(here.label)
            here = here.parent
        return ".".join(reversed(labels))


@dataclass(frozen=True, slots=True)
class Found:
    """A record that stands for a tensor, and what its containers say of it."""

    name: str
    record: object
    role: Role


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of an instance from elsewhere: its class, tensors' roles, constants."""

    kind: str
    roles: Mapping[str, Role]
    constants: Mapping[str, object]


Describe: TypeAlias = Callable[[Call], Description | None]
Child: TypeAlias = tuple[Path, object, Role]


@dataclass(slots=True)
class Inventory:
    """What a walk has found, in file order."""

    describe: Describe
    tensors: list[Found] = field(default_factory=list)
    attributes: dict[str, dict[str, object]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


def walk(top: object, *, describe: Describe = lambda _: None, objects: int = 1 << 16) -> Inventory:
    """Find every tensor below `top`.

    Parameters
    ----------
    top : object
        The records of a pickle.
    describe : callable, optional
        What is known of an instance from elsewhere (TorchScript's code).
    objects : int
        How many the pickle made: containers that hold each other have more paths than that.

    Notes
    -----
    A container that is reached by two paths is walked twice, since both names are the
    tensor's; one that holds no tensor only once; a cycle is cut where it closes. The walk
    keeps its own stack, so depth costs no recursion.
    """
    inventory = Inventory(describe)
    barren: set[int] = set()
    open_now: set[int] = set()
    stack: list[Child | tuple[int, int]] = [(Path(), top, "unknown")]
    visits, most = 0, limits.FREE_VISITS + limits.VISITS * objects
    while stack:
        entry = stack.pop()
        if len(entry) == 2:  # all below it has been seen
            identity, before = entry
            open_now.discard(identity)
            if len(inventory.tensors) == before:
                barren.add(identity)
            continue
        path, record, role = entry
        if is_tensor(record):
            inventory.tensors.append(Found(str(path), record, role))
        elif id(record) not in open_now and id(record) not in barren and may_hold(record):
            if path.depth > limits.PICKLE_DEPTH:
                raise UnreadableModel(f"containers are nested deeper than {limits.PICKLE_DEPTH}")
            open_now.add(id(record))
            stack.append((id(record), len(inventory.tensors)))
            below = [c for c in children(inventory, *entry) if is_tensor(c[1]) or may_hold(c[1])]
            visits += 1 + len(below)
            stack.extend(reversed(below))
        if visits > most:
            raise UnreadableModel(f"containers hold each other along more than {most} paths")
    return inventory


def is_tensor(record: object) -> bool:
    """Whether a record stands for a tensor, not for something that may hold some."""
    if type(record) is Call:
        full = str(record.callee)
        if full in WRAPPERS:
            return bool(record.args) and is_tensor(record.args[0])
        return full in REBUILDERS or (full in ARRAYS and not objects_of(record))
    return type(record) is Storage


ARRAYS: Final = frozenset(["numpy.core.multiarray._reconstruct", "numpy.core.numeric._frombuffer"])


def objects_of(array: Call) -> list[object]:
    """The elements of a NumPy array that was pickled as a list of objects, not as bytes."""
    state = array.states[-1] if array.states else None
    last = state[-1] if isinstance(state, tuple) and state else None
    return last if isinstance(last, list) else []


def may_hold(record: object) -> bool:
    """Whether there is any point in looking inside; long lists of numbers are not walked."""
    if type(record) in (list, tuple):
        assert isinstance(record, list | tuple)
        return any(type(item) not in INERT for item in record)
    if type(record) is Pairs:
        return any(type(item) not in INERT for pair in record.pairs for item in pair)
    return type(record) is Call


def children(inventory: Inventory, path: Path, record: object, role: Role) -> Iterator[Child]:
    """What a container holds, each under its path."""
    if isinstance(record, list | tuple):
        yield from ((path / str(i), item, role) for i, item in enumerate(record))
        return
    pairs = pairs_of(record)
    if pairs is not None:
        yield from dict_children(inventory, path, pairs, role)
    if type(record) is not Call:
        return
    if str(record.callee) in ARRAYS:
        yield from ((path / str(i), item, role) for i, item in enumerate(objects_of(record)))
        return
    state = state_of(record)
    if state.keys() >= BOOKKEEPING:
        yield from module_children(inventory, path, record, state, role)
    elif pairs is None:
        yield from instance_children(inventory, path, record, state, role)
    else:
        yield from ((path / name, value, role) for name, value in state.items())


def dict_children(
    inventory: Inventory, path: Path, pairs: list[tuple[object, object]], role: Role
) -> Iterator[Child]:
    """The values of a dict. Of a key given twice the last value counts, as in Python."""
    last = {key: i for i, (key, _) in enumerate(pairs) if type(key) is str}
    if {"state", "param_groups"} <= last.keys():
        role = "optimizer"
    for i, (key, value) in enumerate(pairs):
        if type(key) is str and last[key] != i:
            inventory.notes[f"key {shown(key)} is given twice in one dict; the last counts"] = None
            continue
        optimizer = type(key) is str and (key.startswith("optimizer") or key in OPTIMIZER_KEYS)
        inner: Role = "optimizer" if optimizer and not is_tensor(value) else role
        yield path / label(key, i), value, inner
        if type(key) not in INERT:  # an optimizer that was pickled whole is keyed by parameter
            yield path / f"{i}.key", key, role


def label(key: object, position: int) -> str:
    """A dict's key as part of a name."""
    if type(key) is str:
        return key
    if type(key) is bytes:
        return key.decode("ascii", "backslashreplace")
    if type(key) is int and key.bit_length() > 64:
        return str(position)
    return str(key) if isinstance(key, SCALARS) or key is None else str(position)


def module_children(
    inventory: Inventory, path: Path, module: Call, state: dict[str, object], role: Role
) -> Iterator[Child]:
    """A module's tensors and submodules under the names ``state_dict()`` gives, then the rest."""
    inventory.attributes[str(path)] = {"class": str(module.callee), **scalars(state)}
    roles: dict[str, Role] = {"_parameters": "parameter", "_buffers": "buffer", "_modules": role}
    own: set[int] = set()
    for table, inner in roles.items():
        for i, (key, value) in enumerate(pairs_of(state[table]) or ()):
            own.add(id(value))
            yield path / label(key, i), value, "optimizer" if role == "optimizer" else inner
    for name, value in state.items():
        items = value if isinstance(value, list | tuple) else [value]
        # a recurrent layer keeps its parameters a second time, as _flat_weights
        if name not in BOOKKEEPING and not all(id(item) in own for item in items):
            yield path / name, value, role


def instance_children(
    inventory: Inventory, path: Path, record: Call, state: dict[str, object], role: Role
) -> Iterator[Child]:
    """What any other object holds: its attributes, then what it was made of."""
    known = inventory.describe(record)
    if known is not None:
        described = {"class": known.kind, **scalars(state), **scalars(dict(known.constants))}
        inventory.attributes[str(path)] = described
    for name, value in state.items():
        inner = known.roles.get(name, role) if known is not None else role
        yield path / name, value, inner
    odd = [part for part in record.states or () if pairs_of(part) is None]
    loose = [*record.args, *(record.items or ()), *(odd if not state else ())]
    yield from ((path / str(i), item, role) for i, item in enumerate(loose))
    yield from dict_children(inventory, path, record.pairs or [], role)


def scalars(state: dict[str, object]) -> dict[str, object]:
    """The public attributes that are plain: numbers, short text, short tuples of them."""
    plain: dict[str, object] = {}
    for name, value in state.items():
        if name.startswith("_") or name in ("training", "dump_patches"):
            continue
        if isinstance(value, list | tuple) and len(value) <= 16:
            value = tuple(value)
            if all(is_plain(item) for item in value):
                plain[name] = value
        elif is_plain(value):
            plain[name] = value
    return plain


def is_plain(value: object) -> bool:
    """Whether it is a number or a short text."""
    return isinstance(value, SCALARS) and not (isinstance(value, str) and len(value) > 200)
