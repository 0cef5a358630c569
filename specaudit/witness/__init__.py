"""Lower bounds: a pair of inputs whose difference quotient is proved, rounding included.

The network is evaluated in float64 by an evaluator of its own (`network`), which bounds its
error at each operation as it goes (`balls`). So the quotient of the pair is one that the
network in exact arithmetic has, over the weights as they are stored; no runtime is trusted,
and none is loaded.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from specaudit.errors import UnsupportedModel
from specaudit.graphs import ResolvedGraph
from specaudit.witness.balls import STEP
from specaudit.witness.evidence import Witness, least_quotient
from specaudit.witness.inputs import Inputs
from specaudit.witness.network import Network
from specaudit.witness.search import Pair, Searcher
from specaudit.witness.table import REFUSALS, Uncovered

if TYPE_CHECKING:
    from specaudit.witness.balls import Array

__all__ = ["SHORT", "Uncovered", "Witness", "glimpsed", "observed", "searched", "steepest"]

Box = Mapping[str, tuple[float, float]] | None
# Multiplications, a billion of which take about a second: counted and not timed, so that the
# same file and seed give the same pair.
SHORT = 200_000_000
_LONG = 4_000_000_000
_FEWEST = 24
_DRAWN = 16  # multiplications that an element of an input is worth
_CANDIDATES = 4
# Relative error of a runtime that evaluates the pair again in the model's own type.
_NOISE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


def glimpsed(
    resolved: ResolvedGraph | None, path: str | None, *, input_range: Box, seed: int
) -> Witness | None:
    """Search for a moment, where that is worth it; only what is proved counts."""
    if resolved is None:
        return None
    try:
        return steepest(resolved, input_range=input_range, seed=seed)
    except Uncovered:
        return None


def searched(
    resolved: ResolvedGraph | None, path: str | None, *, input_range: Box, seed: int
) -> Witness:
    """Search for seconds, with onnxruntime where the graph holds what is not evaluated here.

    Parameters
    ----------
    resolved, input_range, seed
        As for `steepest`.
    path : str or None
        The ONNX file, where the graph is from one.

    Raises
    ------
    ModelError
        If there is no pair, with the reason.
    """
    if resolved is None:
        raise UnsupportedModel("no witness: there is no graph")
    reason = "nothing was found that rounding could not have made"
    try:
        found = steepest(resolved, input_range=input_range, seed=seed, budget=_LONG)
        if found is not None:
            return found
    except Uncovered as problem:
        reason = str(problem)
    if path is None:
        raise UnsupportedModel(f"no witness: {reason}")
    return observed(resolved, path, input_range=input_range, seed=seed)


def steepest(
    resolved: ResolvedGraph,
    *,
    input_range: Box = None,
    seed: int = 0,
    budget: int = SHORT,
) -> Witness | None:
    """Search for a pair of inputs that proves a large lower bound of the Lipschitz constant.

    Parameters
    ----------
    resolved : ResolvedGraph
    input_range : mapping of str to (float, float), optional
        The box the inputs come from, by input name; ``""`` or ``"*"`` names all the rest.
    seed : int
    budget : int
        Multiplications to spend; with `SHORT` large networks are left alone.

    Returns
    -------
    Witness or None
        None where the budget is too small, or nothing could be proved.

    Raises
    ------
    Uncovered
        If the graph holds what is not evaluated here; it says what.

    Notes
    -----
    Only the proof of the pair counts, not how it was found: two evaluations with running
    error bounds (Higham 2002, section 3.3), at points that the model's own type holds exactly.
    """
    try:
        return _steepest(resolved, input_range, seed, budget)
    except REFUSALS as problem:
        raise Uncovered(f"the graph cannot be evaluated: {problem}") from problem


def _steepest(resolved: ResolvedGraph, input_range: Box, seed: int, budget: int) -> Witness | None:
    network = Network(resolved)
    inputs = network.inputs
    # A stride may leave nearly nothing of a vast input: what it takes to draw one counts, too.
    if network.price(_FEWEST) > budget or _FEWEST * _DRAWN * inputs.size > budget:
        return None
    box = inputs.box(input_range or {})
    with np.errstate(all="ignore"):
        searcher = Searcher(network, inputs.size, box, _noise(inputs), network.price, budget, seed)
        proved = [_proved(network, pair, box) for pair in searcher.best(_CANDIDATES)]
    lower, a, b = max(proved, key=lambda entry: entry[0], default=(0.0, None, None))
    if a is None or b is None or lower <= 0.0:
        return None
    return Witness(
        inputs.feeds(a[None]),
        inputs.feeds(b[None]),
        network.outputs_at(a),
        network.outputs_at(b),
        lower,
    )


def observed(
    resolved: ResolvedGraph,
    path: str,
    *,
    input_range: Box = None,
    seed: int = 0,
) -> Witness:
    """Search with onnxruntime, in a process of its own, where `steepest` cannot.

    Parameters
    ----------
    resolved, input_range, seed
        As for `steepest`.
    path : str
        The ONNX file.

    Returns
    -------
    Witness
        An observation: its `lower` is 0, because nobody bounds how onnxruntime rounds.

    Raises
    ------
    ModelError
        If onnxruntime does not run the model, or nothing was seen that rounding could not
        have made.
    """
    from specaudit import sandbox
    from specaudit.witness import runtime

    try:
        inputs = Inputs.of(resolved.inputs)
    except Uncovered as problem:
        raise UnsupportedModel(str(problem)) from None
    task = runtime.task(path, inputs, input_range or {}, seed, _noise(inputs))
    return runtime.witness(sandbox.run("specaudit.witness.runtime:search", task))


def _noise(inputs: Inputs) -> float:
    return max(_NOISE[dtype] for _, dtype in inputs.real.values())


def _proved(
    network: Network, pair: Pair, box: "tuple[Array, Array]"
) -> "tuple[float, Array, Array]":
    """What a pair proves, once it is rounded to numbers that the model can be fed."""
    a, b = (network.inputs.rounded(np.clip(point, *box), box) for point in (pair.a, pair.b))
    first, second = (network.at(point[None], np.zeros(())) for point in (a, b))
    assert first.rad is not None
    assert second.rad is not None
    apart = np.abs(first.mid - second.mid)
    error = (first.rad + second.rad + STEP * (np.abs(first.mid) + np.abs(second.mid))) * (
        1.0 + 16 * STEP
    )
    sure = np.maximum(apart - error, 0.0)
    if not np.isfinite(sure).all() or not sure.any():
        return 0.0, a, b
    return least_quotient(sure, a - b), a, b
