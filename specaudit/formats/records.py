"""What a pickle says, as inert records: nothing is imported, called or hashed."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that a real unpickler would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Pairs:
    """A dict, as the pairs in the order given: a hostile key is never hashed or compared."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Call:
    """An object that a real unpickler would make by calling `callee`.

    `new` marks a bare instance (``cls.__new__``), whose `states` were then set. `items` were
    appended to it and `pairs` assigned.
    """

    callee: Global
    args: tuple[object, ...]
    new: bool = False
    items: list[object] | None = None
    pairs: list[tuple[object, object]] | None = None
    states: list[object] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A torch storage, by its key; `offset` counts elements into the storage of that key."""

    key: str
    kind: str
    location: str
    count: int
    offset: int = 0


def pairs_of(record: object) -> list[tuple[object, object]] | None:
    """The pairs of anything that acts as a dict, else None."""
    if type(record) is Pairs:
        return record.pairs
    if type(record) is not Call or str(record.callee) not in DICTS:
        return None
    given = record.args[0] if record.args else ()
    inner = pairs_of(given) or [
        (entry[0], entry[1])
        for entry in (given if isinstance(given, list | tuple) else ())
        if isinstance(entry, list | tuple) and len(entry) == 2
    ]
    return [*inner, *(record.pairs or ())]


DICTS = {
    "builtins.dict",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "torch._utils.ImmutableDict",
}


def state_of(call: Call) -> dict[str, object]:
    """The attributes that were set on an instance, by name; the last of one name counts."""
    attributes: dict[str, object] = {}
    for state in call.states or ():
        # a class with slots gives (its __dict__, its slots)
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            pairs = pairs_of(part) or ()
            attributes.update((key, value) for key, value in pairs if type(key) is str)
    return attributes
