"""The layers of a bare checkpoint: one for each tensor, or for each group that is one weight."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from specaudit.extract import adapters, parametrised, quantised
from specaudit.extract.entries import Effective, Entry, Reals, exact
from specaudit.extract.geometry import of_module
from specaudit.extract.naming import Reading, class_name, reading
from specaudit.extract.skipping import is_float, skip
from specaudit.model import Model, Weight
from specaudit.report import Skipped


def entries(model: Model) -> Iterator[Entry]:
    """Yield every layer and every skipped tensor of a model without a graph, in file order.

    A weight that is stored in parts (weight norm, spectral norm, adapters, integers and their
    scales) is one layer, at the place of its deciding tensor.
    """
    tensors = {weight.name: weight for weight in reversed(model.weights)}
    candidates = {
        weight.name: weight
        for weight in model.weights
        if weight.role != "optimizer" and tensors[weight.name] is weight
    }
    grouped, claimed, holes = _groups(candidates, model)
    ties = _ties(model.weights)
    adapted = adapters.adapted(candidates)
    stale = {effective.name for effective in grouped.values()}
    for weight in model.weights:
        if id(weight) in grouped:
            yield from _noted(_measured(grouped[id(weight)], model, tensors), ties.get(id(weight)))
        elif id(weight) in claimed:
            continue
        elif weight.role == "optimizer":
            yield skip(weight, "optimizer state")
        elif weight.name in stale:
            yield skip(weight, "a copy that the module computes again from its parametrisation")
        elif id(weight) in ties and _is_private(weight.name):
            yield skip(weight, f"a second name: {ties[id(weight)]}")
        else:
            found = adapters.base_of(adapted, weight)
            yield from _noted(_measured(found, model, tensors), ties.get(id(weight)))
    for hole in holes:
        yield skip(hole.weight, hole.reason, covered=False)


def _is_private(name: str) -> bool:
    """Whether a name leads through an underscored attribute, as an LSTM's ``_flat_weights``."""
    return any(segment.startswith("_") for segment in name.split("."))


def _groups(
    candidates: Mapping[str, Weight], model: Model
) -> tuple[dict[int, Effective], set[int], list[adapters.Hole]]:
    """Return effective weights by their deciding tensor, all tensors in use, and the holes."""
    grouped: dict[int, Effective] = {}
    claimed: set[int] = set()
    holes: list[adapters.Hole] = []
    found: list[Effective | adapters.Hole] = [
        *parametrised.resolve(candidates, model.attributes),
        *adapters.resolve(candidates),
        *quantised.resolve(candidates),
    ]
    for item in found:
        if isinstance(item, adapters.Hole):
            holes.append(item)
            claimed.add(id(item.weight))
        elif id(item.tensors[0]) not in grouped:
            grouped[id(item.tensors[0])] = item
            claimed.update(id(tensor) for tensor in item.tensors)
    return grouped, claimed, holes


def _measured(effective: Effective, model: Model, tensors: Mapping[str, Weight]) -> Iterator[Entry]:
    if effective.problem:
        yield from effective.entries("linear")
        return
    owner, _, _ = effective.name.rpartition(".")
    attributes = model.attributes.get(owner, {})

    def sibling(leaf: str) -> tuple[int, ...] | None:
        beside = tensors.get(f"{owner}.{leaf}".lstrip("."))
        return None if beside is None else beside.shape

    # Integers alone are integers; with a scale beside them they are not.
    scaled = len(effective.tensors) > 1 and not is_float(effective.dtype)
    dtype = "float64" if scaled else effective.dtype
    how = reading(effective.name, effective.shape, dtype, sibling, attributes)
    if how.kind is None:
        yield from _left_out(effective, how)
        return
    read = replace(effective, notes=effective.notes + how.notes)
    if how.kind == "scale":
        read = _batch_norm(read, tensors.get(f"{owner}.running_var"), attributes)
    geometry, notes = of_module(how.kind, effective.shape, attributes)
    read = replace(read, notes=read.notes + notes)
    for part in _laid_out(read, how):
        yield from part.entries(how.kind, geometry)


def _laid_out(effective: Effective, how: Reading) -> Iterator[Effective]:
    if how.layout == "stack":
        yield from effective.parts()
    elif how.layout == "table":
        yield effective.reshaped(-1, effective.shape[-1])
    elif how.layout == "flat":
        yield effective.reshaped(-1)
    elif how.layout == "hwio":
        rank = len(effective.shape)
        yield effective.transposed(rank - 1, rank - 2, *range(rank - 2))
    else:
        yield effective


def _left_out(effective: Effective, how: Reading) -> Iterator[Skipped]:
    first, *rest = effective.tensors
    negative = first.name.endswith(("running_var", "moving_variance")) and _is_negative(first)
    reason = f"{how.reason}; holds a negative variance" if negative else how.reason
    yield skip(first, reason, covered=how.covered and not negative, infinite=how.reason == "mask")
    for tensor in rest:
        yield skip(tensor, how.reason, covered=how.covered)


def _is_negative(weight: Weight) -> bool:
    return bool((exact(weight.read()) < 0.0).any())


def _batch_norm(
    effective: Effective, variance: Weight | None, attributes: Mapping[str, object]
) -> Effective:
    """Return the scale that a batch norm applies: gamma / sqrt(var + eps) where eps is known."""
    if variance is None or variance.shape != effective.shape:
        return effective
    eps = attributes.get("eps")
    if not isinstance(eps, float) or "Norm" not in class_name(attributes):
        note = "gamma alone: the running variance divides it, by an eps that the file lacks"
        return replace(effective, notes=(*effective.notes, note))

    def deviation() -> Reals:
        with np.errstate(invalid="ignore"):
            return np.sqrt(exact(variance.read()) + eps)

    def read() -> Reals:
        with np.errstate(divide="ignore", invalid="ignore"):
            return exact(effective.read()) / deviation()

    write = effective.write
    note = f"gamma / sqrt({variance.name} + {eps:g})"
    return replace(
        effective,
        tensors=(*effective.tensors, variance),
        read=read,
        write=None if write is None else lambda values: write(exact(values) * deviation()),
        notes=(*effective.notes, note),
        roundings=effective.roundings + 3,
    )


def _noted(found: Iterator[Entry], note: str | None) -> Iterator[Entry]:
    for entry in found:
        if note is None or isinstance(entry, Skipped):
            yield entry
        else:
            yield replace(entry, notes=(*entry.notes, note))


def _ties(weights: tuple[Weight, ...]) -> dict[int, str]:
    """Return a note for each weight that shares memory with one before it."""
    notes: dict[int, str] = {}
    stored = [w for w in weights if w.storage and w.size and w.role != "optimizer"]
    stored.sort(key=lambda weight: (weight.storage, weight.extent[0]))  # stable: file order
    storage, end, holder = "", -math.inf, ""
    first: dict[tuple[str, tuple[int, int]], str] = {}
    for weight in stored:
        if weight.storage != storage:
            storage, end = weight.storage, -math.inf
        key = (weight.storage, weight.extent)
        if key in first:
            notes[id(weight)] = f"tied with {first[key]}"
        elif weight.extent[0] < end:
            notes[id(weight)] = f"shares memory with {holder}"
        first.setdefault(key, weight.name)
        if weight.extent[1] > end:
            end, holder = weight.extent[1], weight.name
    return notes
