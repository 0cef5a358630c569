"""Bounds that cost a pass over the entries, and bounds that hold with a probability."""

import math

import numpy as np

from specaudit.bracket import Bracket, round_down, round_up
from specaudit.norms.blocks import Tall, on_cpu
from specaudit.norms.gram import gamma
from specaudit.norms.lanczos import Ritz
from specaudit.operators import Array


def frobenius(tall: Tall) -> Bracket:
    """Return a bracket of the Frobenius norm of a scaled matrix.

    Notes
    -----
    A sum of N squares is within ``gamma_N`` of the exact one, in any order; here N is the
    size of a block (twice that, of complex numbers), and `math.fsum` adds the blocks.
    """
    sums = []
    for _, block in tall.blocks():
        flat = block.reshape(-1)
        sums.append(float((flat.conj() @ flat).real))
    error = gamma(2 * tall.block_rows * tall.columns)
    total = math.fsum(sums)
    lower = round_down(round_down(total) * round_down(1.0 - error))
    upper = round_up(round_up(total) * round_up(1.0 + round_up(2.0 * error)))
    return Bracket(round_down(math.sqrt(lower)), round_up(math.sqrt(upper)))


def row_and_column_sums(tall: Tall) -> float:
    """Return an upper bound of ``sqrt(||A||_1 ||A||_inf)``, which the norm does not exceed."""
    rows, columns = 0.0, np.zeros(tall.columns)
    for _, block in tall.blocks():
        sizes = abs(block)
        rows = max(rows, float(sizes.sum(axis=1).max()))
        columns += on_cpu(sizes.sum(axis=0))
    # Complex moduli carry an error of a few units each, for which the 8 stand.
    error = gamma(max(tall.rows, tall.columns) + 8)
    product = round_up(round_up(rows * float(columns.max())) * round_up(1.0 + round_up(3 * error)))
    return round_up(math.sqrt(product))


def quotient(tall: Tall, vector: Array, frobenius_upper: float) -> float:
    """Return a number that ``||A||`` is not below, from any vector, without a Gram matrix.

    Notes
    -----
    ``y = fl(A v)`` is off by at most ``gamma_n |A| |v|``, hence ``gamma_n ||A||_F ||v||``,
    and a computed length of k numbers by a factor within ``1 ± gamma_{k+2}``.
    """
    image = on_cpu(tall.operator().matvec(vector))
    lengths = float(np.linalg.norm(image)), float(np.linalg.norm(on_cpu(vector)))
    if not (0.0 < lengths[0] < math.inf and 0.0 < lengths[1] < math.inf):
        return 0.0
    rows, columns = (
        gamma(size + 2, is_complex=tall.is_complex) for size in (tall.rows, tall.columns)
    )
    longest = round_up(lengths[1] * round_up(1.0 + columns))
    loss = round_up(columns * round_up(frobenius_upper * longest))
    top = round_down(round_down(lengths[0] * round_down(1.0 - rows)) - loss)
    return round_down(top / longest)


def probable(ritz: Ritz, n: int, probability: float) -> float:
    """Return a bound of ``||A||`` which fails with at most this probability.

    Parameters
    ----------
    ritz : Ritz
        From a start that is uniform on the unit sphere of R^n.
    n : int
        Length of the short side.
    probability : float

    Notes
    -----
    Let b be the component of the start along the top singular vector. With probability at
    least ``1 - p``, ``|b| >= delta = p sqrt(pi) Gamma((n-1)/2) / (2 Gamma(n/2))``, n >= 3.
    On that one event, in exact arithmetic, two bounds hold, and the smaller is returned:

    - *a priori*: ``||A||**2 <= theta cosh(arcosh(1 / delta) / (2k - 1))**2`` after k steps
      (by a Chebyshev polynomial; Kuczyński and Woźniakowski 1992, theorem 4.1, in shape);
    - *a posteriori*: ``||A||**2`` is at most the largest root of
      ``prod(x - theta_i) = prod(beta_j) / delta`` (van Dorsselaer, Hochstenbach and van der
      Vorst 2000), mostly far tighter.

    An estimate, never a certificate: the start is only as random as its seed, and the
    rounding of the process is not counted.

    References
    ----------
    J. Kuczyński, H. Woźniakowski, SIAM J. Matrix Anal. Appl. 13 (1992), 1094-1122.
    J. van Dorsselaer, M. Hochstenbach, H. van der Vorst, SIAM J. Matrix Anal. Appl. 22
    (2000), 837-852.
    """
    if n < 3 or ritz.value == 0.0:
        return math.inf
    delta = math.exp(log_delta(n, probability))
    steps = len(ritz.values)
    if ritz.exhausted:
        return math.sqrt(ritz.value)
    exponent = math.acosh(max(1.0, 1.0 / delta)) / (2 * steps - 1)
    prior = math.sqrt(ritz.value) * math.cosh(exponent) if exponent < 700.0 else math.inf
    return min(prior, math.sqrt(_largest_root(ritz, math.log(delta))))


def log_delta(n: int, probability: float) -> float:
    """Return the logarithm of delta, which a random component exceeds with ``1 - p``."""
    gammas = math.lgamma((n - 1) / 2.0) - math.lgamma(n / 2.0)
    return math.log(probability) + 0.5 * math.log(math.pi) - math.log(2.0) + gammas


def _largest_root(ritz: Ritz, log_of_delta: float) -> float:
    """Bisect for the logarithm of the polynomial, which grows to the right of theta_1."""
    target = float(np.sum(np.log(ritz.couplings))) - log_of_delta
    top = float(ritz.values[-1])

    def excess(x: float) -> float:
        return float(np.sum(np.log(x - ritz.values))) - target

    gap = top
    while excess(top + gap) < 0.0:
        gap *= 2.0
    low, high = 0.0, gap
    for _ in range(100):
        middle = 0.5 * (low + high)
        if top + middle > top and excess(top + middle) >= 0.0:
            high = middle
        else:
            low = middle
    return top + high
