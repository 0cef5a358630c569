"""Whether a saved audit agrees with itself: what `json.parse_all` asks before it believes one.

Anybody can write a document by hand, and no check can tell that from a real one; one from
which layers were taken on purpose is read. But no number may say two things at once: the gate
reads only some of its parts, and must not be green where the others say otherwise.
"""

import json
import math

from specaudit.report import Measurement, NetworkBound, Norm, Report, Status

_SLACK = 1e-4  # of a decimal logarithm: sums are rounded outwards, and people shorten numbers


class _RepeatedKey(Exception):
    """A key that an object has twice; `args` holds it."""


def repeated_key(text: str | bytes) -> str | None:
    """Return a key that some object of a JSON text has twice: readers differ on which counts.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON, or too deep.
    """

    def unique(pairs: list[tuple[str, object]]) -> None:  # nothing is kept but the arrays
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKey(key)
            seen.add(key)

    try:
        json.loads(text, object_pairs_hook=unique, parse_int=len, parse_float=len)
    except _RepeatedKey as found:
        return str(found.args[0])
    return None


def contradiction(report: Report) -> str:
    """Return what in a report contradicts what, or nothing."""
    for layer in report.layers:
        problem = _in_layer(layer)
        if problem:
            return problem
    if report.model.parameters < 0 or any(min(one.shape, default=0) < 0 for one in report.skipped):
        return "a size is negative"
    product = report.product
    if product.status == "certified" or product.upper is not None:
        problem = _in_bound("the product", product.status, product.upper, product.log10_upper)
        if problem:
            return problem
    return _in_network(report.network)


def _in_layer(layer: Measurement) -> str:
    for norm in (layer.norm, layer.operator_norm, layer.reshaped_norm):
        if norm is not None and _is_impossible(norm):
            return "the ends of a norm contradict each other"
    if min(layer.shape, default=0) < 0 or layer.matvecs < 0:
        return "a size is negative"
    spectrum = layer.spectrum
    if spectrum is not None:
        condition, leading = spectrum.condition, spectrum.leading
        if condition is not None and condition < 1.0 - _SLACK:
            return "a condition number is below 1"
        if list(leading) != sorted(leading, reverse=True) or min(leading, default=0.0) < 0.0:
            return "singular values are negative or do not descend"
    return ""


def _is_impossible(norm: Norm) -> bool:
    lower, upper = norm.lower or 0.0, norm.upper
    if (norm.status == "certified") != (upper is not None):
        return True
    chance = norm.failure_probability or 0.0
    if not (norm.estimate or 0.0) >= 0.0 or not 0.0 <= chance <= 1.0:
        return True
    return lower < 0.0 or (upper is not None and not lower <= upper)


def _in_network(network: NetworkBound) -> str:
    name = "the network bound"
    problem = _in_bound(name, network.status, network.upper, network.log10_upper)
    if problem:
        return problem
    if any(_disagree(one.upper, one.log10_upper) for one in network.inputs):
        return "the bound of an input and its logarithm disagree"
    lower, logarithm = network.lower or 0.0, network.log10_upper
    above = network.upper is not None and not lower <= network.upper
    if lower > 0.0 and logarithm is not None:
        above = above or (math.log10(lower) > logarithm and _differ(math.log10(lower), logarithm))
    return "the ends of the network bound contradict each other" if lower < 0.0 or above else ""


def _in_bound(name: str, status: Status, upper: float | None, logarithm: float | None) -> str:
    """Return what is wrong with a bound and its logarithm."""
    if (status == "certified") != (upper is not None or logarithm is not None):
        return f"{name} and its status contradict each other"
    return f"{name} and its logarithm disagree" if _disagree(upper, logarithm) else ""


def _disagree(upper: float | None, logarithm: float | None) -> bool:
    if upper is not None and upper < 0.0:
        return True
    if upper is None or logarithm is None or upper < 1e-300:  # rounded up from anything below
        return False
    return _differ(math.log10(upper), logarithm)


def _differ(logarithm: float, other: float) -> bool:
    return abs(logarithm - other) > _SLACK * (1.0 + abs(other))
