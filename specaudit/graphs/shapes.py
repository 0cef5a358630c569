"""Types of a node's outputs from what is known of its inputs: the table, and its door."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from specaudit.graphs.site import UNKNOWN, Site, Type

Rule: TypeAlias = Callable[[Site], Sequence[Type]]

RULES: dict[tuple[str, str], Rule] = {}

RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def shape_rule(*operations: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Enter a rule into the table, for one or several operations."""

    def enter(rule: Rule) -> Rule:
        for operation in operations:
            RULES[domain, operation] = rule
        return rule

    return enter


MALFORMED = (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError)


def output_types(site: Site) -> tuple[Type, ...]:
    """Types of the node's outputs; what no rule speaks of is unknown, never an error."""
    rule = RULES.get((site.node.domain, site.node.op))
    try:
        types = tuple(rule(site)) if rule else ()
    except MALFORMED:  # inputs or attributes that are not there, or of another kind
        types = ()
    wanted = len(site.node.outputs)
    return (types + (UNKNOWN,) * wanted)[:wanted]


def is_deterministic(site: Site) -> bool:
    """Whether constants in make constants out; what no rule speaks of may be random."""
    node = site.node
    if node.op == "Dropout" and not node.domain:
        training = site.known(2)
        return not site.has(2) or (training is not None and not training.any())
    return (node.domain, node.op) in RULES and node.op not in RANDOM
