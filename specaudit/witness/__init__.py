"""Lower bounds: a pair of inputs whose difference quotient is proved, rounding included.

The network is evaluated in float64 by an evaluator of its own (`network`), which bounds its
error at each operation as it goes (`balls`). So the quotient of the pair is one that the
network in exact arithmetic has, over the weights as they are stored; no runtime is trusted,
and none is loaded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specaudit.graphs import ResolvedGraph
from specaudit.witness.balls import STEP
from specaudit.witness.network import Network
from specaudit.witness.search import Pair, Searcher
from specaudit.witness.table import Uncovered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specaudit.witness.balls import Array

__all__ = ["LONG", "SHORT", "Uncovered", "Witness", "steepest"]

# Multiplications, a billion of which take about a second: counted and not timed, so that the
# same file and seed give the same pair.
SHORT = 200_000_000
LONG = 10_000_000_000
_FEWEST = 24
_CANDIDATES = 4
_BITS = 32
# Relative error of a runtime that evaluates the pair again in the model's own type.
_NOISE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


@dataclass(frozen=True, slots=True)
class Witness:
    """Two inputs, their images, and what they prove.

    Parameters
    ----------
    a, b : mapping of str to ndarray
        The inputs by name, every one of the model's, in the types the model declares.
    image_a, image_b : mapping of str to ndarray, float64
        The outputs by name.
    lower : float
        Not above ``|f(a) - f(b)| / |a - b|`` in exact arithmetic.
    """

    a: "Mapping[str, NDArray[np.generic]]"
    b: "Mapping[str, NDArray[np.generic]]"
    image_a: "Mapping[str, Array]"
    image_b: "Mapping[str, Array]"
    lower: float


def steepest(
    resolved: ResolvedGraph,
    *,
    input_range: Mapping[str, tuple[float, float]] | None = None,
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
    network = Network(resolved)
    if network.price(_FEWEST) > budget:
        return None
    box = _box(network, input_range or {})
    noise = max(_NOISE[dtype] for _, dtype in network.inputs.values())
    with np.errstate(all="ignore"):
        searcher = Searcher(network, network.size, box, noise, network.price, budget, seed)
        found = searcher.best(_CANDIDATES)
        proved = [_proved(network, pair, box) for pair in found]
    lower, a, b = max(proved, key=lambda entry: entry[0], default=(0.0, None, None))
    if a is None or b is None or lower <= 0.0:
        return None
    return Witness(
        network.named(a), network.named(b), network.outputs_at(a), network.outputs_at(b), lower
    )


def _box(network: Network, given: Mapping[str, tuple[float, float]]) -> "tuple[Array, Array]":
    ends = []
    for name, (shape, _) in network.inputs.items():
        found = next((given[key] for key in (name, "*", "") if key in given), (-np.inf, np.inf))
        ends.append(np.broadcast_to(np.array(found)[:, None], (2, math.prod(shape))))
    both = np.concatenate(ends, axis=1)
    return both[0], both[1]


def _proved(
    network: Network, pair: Pair, box: "tuple[Array, Array]"
) -> "tuple[float, Array, Array]":
    """What a pair proves, once it is rounded to numbers that the model can be fed."""
    a, b = (network.rounded(np.clip(point, *box), box) for point in (pair.a, pair.b))
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
    return quotient(sure, a - b), a, b


def quotient(least: "Array", step: "Array") -> float:
    """A lower bound of ``|least| / |step|``, the same whatever BLAS is at work.

    Notes
    -----
    Each norm of k entries, scaled by its largest, errs by ``(k + 8) u`` relatively at most,
    the rounding of the entries included; what underflows is below the last place.
    """
    above, over = _norm(least), _norm(step)
    if not 0.0 < over < math.inf or not above < math.inf:
        return 0.0
    lost = (least.size + step.size + 32) * STEP
    mantissa, exponent = math.frexp(above / over * (1.0 - lost))
    return math.ldexp(math.floor(mantissa * 2.0**_BITS), exponent - _BITS)


def _norm(vector: "Array") -> float:
    largest = float(np.abs(vector).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * math.sqrt(float(np.square(vector / largest).sum()))
