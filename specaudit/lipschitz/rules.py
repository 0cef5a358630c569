"""The table of operations, and the words in which a rule speaks.

A rule is a function ``(node, context) -> Effect``: how far each input of the node can move
its outputs, and what is known of the values that come out. The input it does not mention
must not depend on the input of the network; where it does, the node has no constant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from specaudit import limits
from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.model import Node
from specaudit.report import Unbounded

if TYPE_CHECKING:
    from specaudit.lipschitz.context import Context


@dataclass(frozen=True, slots=True)
class Infinite:
    """There is no finite constant, and why.

    `code` is D (discontinuous), G (gradient unbounded), B (product of two activations), I (data
    choose the index), R (random), or None: something is not known that would have to be.
    `inside` are the nodes of a subgraph where the reason lies.
    """

    code: str | None
    words: str
    inside: tuple[Unbounded, ...] = ()


Gain: TypeAlias = Magnitude | Infinite


@dataclass(frozen=True, slots=True)
class Effect:
    """What a node does to a perturbation of its inputs.

    Parameters
    ----------
    gains : mapping of int to Gain
        Input index to a bound of the l2 Lipschitz constant with respect to it, of all the
        outputs the effect speaks for taken together. 0 where the output does not depend on
        that input; an input that is left out has no constant if it is an activation.
    joint : bool
        Whether the gains add in squares, as for the parts of a concatenation, and not plainly.
    facts : Facts
        Of the output.
    source : bool
        The outputs start a new input: an embedding chosen by integer indices.
    selects : (int, frozenset of int), optional
        The output is the first input at these indices along an axis, each taken once.
    weighed : tuple of str
        The gains are those of the output times the root of these sizes, which nobody knows.
    """

    gains: Mapping[int, Gain]
    joint: bool = False
    facts: Facts = UNKNOWN
    source: bool = False
    selects: tuple[int, frozenset[int]] | None = None
    weighed: tuple[str, ...] = ()


Rule: TypeAlias = Callable[[Node, "Context"], Effect | tuple[Effect, ...]]

R = TypeVar("R", bound=Rule)

TABLE: dict[tuple[str, str], Rule] = {}

# The code of an operation without a rule, until it is listed under its own heading.
UNMODELLED = "?"


class Missing(Exception):
    """A rule needs something that nobody knows: a size, or the value of a constant."""


def writable(entries: int, what: str) -> None:
    """Raise `Missing` where a file declares more of something than there is memory for."""
    if entries > limits.scaled(limits.MAP_ENTRIES):
        raise Missing(f"{what} is too large to be written out")


# What reading a node may raise. Files hold nodes that no checker has seen: wrong ranks, missing
# inputs, odd attributes.
MALFORMED = (Missing, IndexError, KeyError, ValueError, TypeError, ArithmeticError)


def rule(*ops: str, domain: str = "") -> Callable[[R], R]:
    """Enter a function into the table as the rule of one or several operations."""

    def enter(function: R) -> R:
        for op in ops:
            if (domain, op) in TABLE:
                raise ValueError(f"two rules for {op}")
            TABLE[domain, op] = function
        return function

    return enter


def unary(gain: Gain, facts: Facts = UNKNOWN) -> Effect:
    """An effect of the first input alone."""
    return Effect({0: gain}, facts=facts)


def constant(facts: Facts = UNKNOWN, inputs: int = 0) -> Effect:
    """The effect of a node whose output does not change with its inputs (a shape, a size)."""
    return Effect(dict.fromkeys(range(inputs), ZERO), facts=facts)


def everywhere(node: Node, gain: Gain, facts: Facts = UNKNOWN) -> Effect:
    """The same gain for every input."""
    return Effect(dict.fromkeys(range(len(node.inputs)), gain), facts=facts)


def isometry(facts: Facts = UNKNOWN) -> Effect:
    """The effect of moving the elements of the first input about."""
    return unary(ONE, facts)


def magnitude(value: float) -> Magnitude:
    """An upper bound as a `Magnitude`; one that is no number is asked about, not passed on."""
    if not value >= 0.0:
        raise Missing("a weight or an attribute of it is not a number")
    return Magnitude.of(value)


def root(count: float) -> Magnitude:
    """Square root of a count, rounded up; exact for squares of integers."""
    from specaudit.lipschitz.ranges import root as square_root

    return Magnitude.of(square_root(float(count)))


# The words for the codes, where a rule has nothing more precise to say.
DISCONTINUOUS = Infinite("D", "jumps: it has no continuous extension over the reals")
PRODUCT = Infinite("B", "product of two activations, neither of which is known to be bounded")
INDEX = Infinite("I", "an activation chooses which elements are read or written")
RANDOM = Infinite("R", "draws random numbers that depend on the input")
