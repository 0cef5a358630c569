"""Einsum: with one operand moving it is a linear map, whose letters say which norm it has."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from specaudit.bracket import Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, gated
from specaudit.lipschitz.linear import largest_norm
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_ELEMENTS = 1 << 24
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum_effect(node: Node, context: Context) -> Effect:
    """The rule of Einsum; see `linear.einsum`."""
    terms, out = _parse(node, context)
    sizes = _letter_sizes(node, terms, context)
    gains: dict[int, Gain] = {}
    for index, name in enumerate(node.inputs):
        if context.live(name):
            gains[index] = _gain(node, context, index, terms, out, sizes)
    size = 1.0
    for name in node.inputs:
        size = ranges.times(size, context.facts(name).magnitude)
    summed = {letter for term in terms for letter in term} - set(out)
    size = ranges.times(size, float(math.prod(sizes[letter] for letter in summed)))
    return Effect(gains, facts=Facts(-size, size))


def _parse(node: Node, context: Context) -> tuple[list[str], str]:
    """The letters of each operand and of the output, ``...`` spelled out."""
    equation = attribute(node, "equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        raise Missing(f"the equation {equation!r} does not name its {len(node.inputs)} operands")
    free = [letter for letter in _LETTERS if letter not in equation]
    depth = 0
    spelled = []
    for name, term in zip(node.inputs, terms, strict=True):
        hidden = context.rank(name) - len(term.replace("...", "")) if "..." in term else 0
        depth = max(depth, hidden)
        spelled.append((term, hidden))
    if depth > len(free):
        raise Missing("the equation has more axes than letters")
    axes = "".join(free[:depth])
    full = [term.replace("...", axes[depth - hidden :]) for term, hidden in spelled]
    if not arrow:
        joined = "".join(full)
        right = axes + "".join(sorted(c for c in set(joined) - set(axes) if joined.count(c) == 1))
    return full, right.replace("...", axes)


def _letter_sizes(node: Node, terms: list[str], context: Context) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, term in zip(node.inputs, terms, strict=True):
        for letter, size in zip(term, context.sizes(name), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 0))
    return sizes


def _gain(
    node: Node,
    context: Context,
    index: int,
    terms: list[str],
    out: str,
    sizes: Mapping[str, int],
) -> Gain:
    # An axis of size 1 that is broadcast does not carry its letter.
    pairs = zip(terms, map(context.sizes, node.inputs), strict=True)
    terms = [
        "".join(c for c, size in zip(term, lengths, strict=True) if size == sizes[c])
        for term, lengths in pairs
    ]
    mine = terms[index]
    others = [k for k in range(len(terms)) if k != index]
    constants = [context.constant(node.inputs[k]) for k in others]
    rest = "".join(dict.fromkeys("".join(terms[k] for k in others)))
    summed = [c for c in dict.fromkeys(mine) if c not in rest and c not in out]
    outer = root(math.prod(sizes[c] for c in summed))
    small = math.prod(sizes[c] for c in rest) <= _MOST_ELEMENTS
    if small and all(value is not None for value in constants):
        values = [
            value.reshape([sizes[c] for c in terms[k]])
            for k, value in zip(others, constants, strict=True)
            if value is not None
        ]
        return outer * _constant_norm(node, context, mine, others, terms, out, values)
    size = 1.0
    for k in others:
        size = ranges.times(size, context.facts(node.inputs[k]).magnitude)
    words = "product of activations, of which one at least is not known to be bounded"
    # The modulus of the other operand is at most a tensor of equal numbers, whose norm is known.
    presummed = math.prod(sizes[c] for c in rest if c not in mine and c not in out)
    crossing = [c for c in rest if (c in mine) != (c in out)]
    bound = magnitude(size) * magnitude(float(presummed))
    return gated(outer * bound * root(math.prod(sizes[c] for c in crossing)), Infinite("B", words))


def _constant_norm(
    node: Node,
    context: Context,
    mine: str,
    others: list[int],
    terms: list[str],
    out: str,
    values: list["NDArray[np.generic]"],
) -> Magnitude:
    import numpy as np

    rest = "".join(dict.fromkeys("".join(terms[k] for k in others)))
    if not rest:
        return magnitude(float(np.prod([abs(float(value)) for value in values])) * (1 + 2.0**-48))
    kept = [c for c in rest if c in mine or c in out]
    batch = [c for c in kept if c in mine and c in out]
    rows = [c for c in kept if c not in mine]
    columns = [c for c in kept if c in mine and c not in out]
    order = "".join((*batch, *rows, *columns))
    equation = ",".join(terms[k] for k in others) + "->" + order
    doubles = [np.asarray(value, dtype=np.float64) for value in values]
    merged = np.einsum(equation, *doubles)
    lengths = dict(zip(order, merged.shape, strict=True))
    height = math.prod(lengths[c] for c in rows)
    width = math.prod(lengths[c] for c in columns)
    stack = merged.reshape(-1, height, width)
    gain = largest_norm(node.inputs[others[0]], stack, node, context)
    if len(values) == 1 and merged.size == values[0].size:
        return gain
    # What the summation and the products above may have lost, relative to sums of moduli.
    sums = np.einsum(equation, *(np.abs(value) for value in doubles))
    terms_summed = max(1, math.prod(value.size for value in doubles) // max(1, merged.size))
    lost = (terms_summed + 8) * 2.0**-52 * float(np.sqrt(np.square(sums).sum()))
    return gain + magnitude(lost)
