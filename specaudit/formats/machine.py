"""The machine that pickles run on: a stack, marks and a memo, with budgets."""

from collections.abc import Callable
from dataclasses import dataclass, field

from specaudit import limits
from specaudit.errors import UnreadableModel


class TruncatedPickle(UnreadableModel):
    """The pickle ends before its STOP."""


@dataclass(slots=True)
class Ledger:
    """What the pickles of one file have cost so far, and which unlisted names they call."""

    opcodes: int = 0
    objects: int = 0
    most_objects: int = field(default_factory=lambda: limits.scaled(limits.PICKLE_OBJECTS))
    foreign: dict[str, None] = field(default_factory=dict)


class Machine:
    """The stack, the marks and the memo of a pickle that is being read."""

    __slots__ = ("at", "data", "end", "ledger", "marks", "memo", "persistent", "stack")

    def __init__(
        self, data: bytes, start: int, persistent: Callable[[object], object], ledger: Ledger
    ) -> None:
        self.data = data
        self.at = start
        self.end = len(data)
        self.persistent = persistent
        self.ledger = ledger
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def byte(self) -> int:
        """The next byte."""
        at = self.at
        if at >= self.end:
            raise TruncatedPickle("truncated pickle")
        self.at = at + 1
        return self.data[at]

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.at + count
        if count < 0 or end > self.end:
            raise TruncatedPickle("truncated pickle")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next `width` bytes as a number."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> bytes:
        """What comes before the next newline."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise TruncatedPickle("truncated pickle")
        part = self.data[self.at : end]
        self.at = end + 1
        return part

    def push(self, value: object) -> None:
        """Push a value."""
        self.stack.append(value)

    def make(self, value: object) -> None:
        """Push a new container or record."""
        self.charge()
        self.stack.append(value)

    def charge(self) -> None:
        """Count one more object in memory."""
        self.ledger.objects += 1
        if self.ledger.objects > self.ledger.most_objects:
            raise UnreadableModel(
                f"pickle makes more than {self.ledger.most_objects} objects", help=limits.RAISE
            )

    def pop(self) -> object:
        """Take the top of the stack."""
        if not self.stack:
            raise UnreadableModel("pickle is damaged: stack underflow")
        return self.stack.pop()

    def top(self) -> object:
        """Look at the top of the stack."""
        if not self.stack:
            raise UnreadableModel("pickle is damaged: stack underflow")
        return self.stack[-1]

    def mark(self) -> None:
        """Begin a container."""
        self.charge()
        self.marks.append(self.stack)
        self.stack = []

    def marked(self) -> list[object]:
        """What was pushed since the last mark."""
        if not self.marks:
            raise UnreadableModel("pickle is damaged: a mark is missing")
        items, self.stack = self.stack, self.marks.pop()
        return items
