"""The spectral norm of an operator: a method guesses, a quotient and a certificate prove."""

import dataclasses
import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import Bracket, round_down, round_up
from specaudit.norms import cholesky, envelopes, exact, lanczos, power
from specaudit.norms.blocks import Tall, is_monomial, namespace, on_cpu, peak_and_defects
from specaudit.norms.gram import Gram, U, gamma
from specaudit.norms.lanczos import Ritz
from specaudit.operators import Array, LinearOperator
from specaudit.report import Norm, Settings, finite_or_none


class Method(Protocol):
    """Finds the largest singular value and a vector to it; proves nothing."""

    def __call__(self, tall: Tall, start: Array, *, tolerance: float, steps: int = ...) -> Ritz:
        """Return what was found from `start`."""


def _golub_kahan(tall: Tall, start: Array, *, tolerance: float, steps: int = lanczos.STEPS) -> Ritz:
    return lanczos.bidiagonalise(tall.operator(), start, tolerance=tolerance, steps=steps)


def _power(tall: Tall, start: Array, *, tolerance: float, steps: int = power.STEPS) -> Ritz:
    return power.iterate(tall.operator(), start, tolerance=tolerance, steps=steps)


# `auto` runs Lanczos on the Gram matrix, which its certificate needs anyway; the row here is
# what it does where nothing is certified.
METHODS: Mapping[str, Method] = {
    "auto": _golub_kahan,
    "svd": exact.svd,
    "lanczos": _golub_kahan,
    "power": _power,
}

_KRYLOV = ("auto", "lanczos")

FAILURE_PROBABILITY = 1e-10
# From this order on a Gram matrix is larger than a core's share of the cache.
_SINGLE_FROM = 2048
# Up to this order diagonalising the Gram matrix is faster than finding one vector of it.
_SMALL = 96


def spectral_norm(operator: LinearOperator, settings: Settings | None = None) -> Norm:
    """Return the largest singular value of an operator, as a proved interval.

    Parameters
    ----------
    operator : LinearOperator, shape (m, n)
    settings : Settings, optional
        `method`, `rtol`, `iterations`, `seed`, `certify`, `certify_limit`.

    Examples
    --------
    >>> import numpy as np
    >>> from specaudit.operators import dense
    >>> norm = spectral_norm(dense(np.array([[1.0, 1.0], [0.0, 1.0]])))
    >>> norm.status, round(norm.lower, 8), round(norm.upper, 8)
    ('certified', 1.61803399, 1.61803399)

    Notes
    -----
    The lower end is a Rayleigh quotient, the upper end one Cholesky factorisation: n**2 m
    flops for the Gram matrix, n**3 / 3 for the factorisation, n the short side. Both take
    every rounding into account (`Gram.lower_end`, `cholesky.upper_end`), whatever the method
    that led to them. A method that missed the largest singular value is found out by the
    factorisation breaking down; Lanczos from another start, then all eigenvalues of the
    Gram matrix, take over.
    """
    norm, _ = measured(operator, settings or Settings())
    return norm


def measured(operator: LinearOperator, settings: Settings) -> tuple[Norm, int]:
    """Return the norm and the number of products that it took."""
    if 0 in operator.shape:
        return Norm(0.0, 0.0, "certified", "exact", reason="the weight has no entries"), 0
    if operator.dense is None:
        return _matrix_free(operator, settings)
    tall = Tall.of(operator.dense())
    del operator  # what was read is let go as soon as its Gram matrix stands
    peak, nans, infinities = peak_and_defects(tall)
    if nans or infinities:
        reason = f"{nans} NaN and {infinities} infinite among {tall.rows * tall.columns} entries"
        return Norm(None, None, "non_finite", settings.method, reason=reason), 0
    tall = tall.scaled(peak)
    if peak == 0.0 or is_monomial(tall):
        return Norm.certified(Bracket.exactly(peak), "exact"), 0
    if not settings.certify or tall.columns > settings.certify_limit:
        return _estimated(tall, settings)
    start = tall.like(_start(tall, settings.seed))
    guess = None if settings.method == "auto" else _run(tall, start, settings)
    return _certified(tall, start, guess, settings)


def _certified(
    tall: Tall, start: Array, guess: Ritz | None, settings: Settings
) -> tuple[Norm, int]:
    method, gram = str(settings.method), Gram.of(tall)
    if guess is None and gram.size <= _SMALL:
        method, guess = "gram", exact.eigenpair(gram)
    elif guess is None:
        steps = settings.iterations or lanczos.STEPS
        method, guess = "lanczos", _krylov(gram, start, settings.rtol, steps)
    squared, matvecs = _squeeze(tall, gram, guess, settings)
    loss = round_up(gram.entry_error * round_up(math.sqrt(gram.square)))
    ends = Bracket(
        round_down(round_down(math.sqrt(squared.lower)) - loss),
        round_up(round_up(math.sqrt(squared.upper)) + loss),
    )
    return _scaled_back(ends, gram.exponent, method, settings.rtol), matvecs


def _squeeze(tall: Tall, gram: Gram, first: Ritz, settings: Settings) -> tuple[Bracket, int]:
    """Bracket ``||A|| ** 2`` from a guess; from better ones, should it not be tight."""
    lower, upper, matvecs = 0.0, math.inf, 0
    for whole, guess in _attempts(tall, gram, first, settings):
        matvecs += guess.matvecs
        lower = max(lower, whole.lower_end(_like(guess.vector, whole)))
        shift = max(guess.value, lower) * (1.0 + _HEADROOM * guess.accuracy)
        found = cholesky.upper_end(whole, shift, overwrite=_is_lost(gram) and guess is first)
        if found is None:
            continue
        upper = min(upper, found)
        # What rounding alone costs is no reason for another attempt.
        price = 4.0 * (found - shift) + 2.0 * gamma(2 * gram.size) * gram.square
        if upper - lower <= 2.0 * settings.rtol * upper + price:
            break
    return Bracket(lower, max(lower, upper)), matvecs


def _attempts(
    tall: Tall, gram: Gram, first: Ritz, settings: Settings
) -> Iterator[tuple[Gram, Ritz]]:
    yield gram, first
    if _is_lost(gram):
        gram = Gram.of(tall)
    another = _random(gram.size, [settings.seed, 1], is_complex=gram.is_complex)
    yield gram, _krylov(gram, _like(another, gram), settings.rtol, 2 * lanczos.STEPS)
    exhaustive = exact.eigenpair(gram)
    for doubling in range(_DOUBLINGS):
        yield gram, dataclasses.replace(exhaustive, accuracy=exhaustive.accuracy * 2.0**doubling)


def _is_lost(gram: Gram) -> bool:
    # The first attempt nearly always is the last: a large matrix is overwritten by it rather
    # than copied, and formed again where that was wrong.
    return gram.size >= cholesky.IN_PLACE


def _krylov(gram: Gram, start: Array, rtol: float, steps: int) -> Ritz:
    tolerance = _tolerance(rtol)
    if gram.size >= _SINGLE_FROM and not gram.is_complex and isinstance(start, np.ndarray):
        # Past the cache a product costs what it reads: half as much in single precision.
        single = dataclasses.replace(gram, matrix=gram.matrix.astype(np.float32))
        rough = lanczos.tridiagonalise(
            single.product, start.astype(np.float32), tolerance=tolerance, steps=steps
        )
        del single
        guess, is_met = lanczos.refined(gram.product, rough)
        if is_met:
            return guess
        start = guess.vector
    return lanczos.tridiagonalise(gram.product, start, tolerance=tolerance, steps=steps)


def _run(tall: Tall, start: Array, settings: Settings) -> Ritz:
    method, tolerance = METHODS[settings.method], _tolerance(settings.rtol)
    if settings.iterations is None:
        return method(tall, start, tolerance=tolerance)
    return method(tall, start, tolerance=tolerance, steps=max(1, settings.iterations))


def _tolerance(rtol: float) -> float:
    # Of the squared norm, where rtol is worth twice as much: a tenth for the method, and
    # _HEADROOM times that for the shift, leave a third in hand.
    return max(rtol / 5.0, 8.0 * U)


def _estimated(tall: Tall, settings: Settings) -> tuple[Norm, int]:
    """Return the proved lower end, and an estimate in place of an upper one.

    Notes
    -----
    The start depends on the entries by way of their SHA-256, so that no weight can be made
    to hide from it but by trying out weights; and it is the same from run to run.
    """
    start = tall.like(_start(tall, settings.seed, mixed=True))
    if settings.method in _KRYLOV:
        ritz = _until_ruled_out(tall.operator(), start, settings)
    else:
        ritz = _run(tall, start, settings)
    size = envelopes.frobenius(tall)
    envelope = min(size.upper, envelopes.row_and_column_sums(tall))
    loss = round_up(tall.entry_error * size.upper)
    envelope = round_up(envelope + loss)
    lower = min(envelopes.quotient(tall, ritz.vector, size.upper), envelope)
    lower = round_down(max(0.0, lower - loss)) if loss else lower
    proved = _raised(_on_grid(envelope, 20, math.ceil), tall.exponent)
    reason = f"not certified; proved is only <= {proved!r}"
    estimate, probability = math.sqrt(ritz.value), None
    if len(ritz.values):
        estimate = envelopes.probable(ritz, tall.columns, FAILURE_PROBABILITY)
        probability = FAILURE_PROBABILITY
        reason += "; the estimate holds with its probability over starts drawn from the seed"
        reason += " and the entries, rounding not counted"
    bits = _bits(settings.rtol)
    lower = _on_grid(lower, bits, math.floor)
    estimate = _on_grid(min(estimate, envelope), bits, math.ceil)
    norm = Norm(
        _lowered(lower, tall.exponent),
        None,
        "estimate",
        settings.method,
        estimate=finite_or_none(_raised(estimate, tall.exponent)),
        failure_probability=probability,
        reason=reason,
    )
    return norm, ritz.matvecs


def _matrix_free(operator: LinearOperator, settings: Settings) -> tuple[Norm, int]:
    """Estimate the norm of an operator whose entries, and rounding, are not to be had."""
    rows, columns = operator.shape
    if rows < columns:
        operator = dataclasses.replace(
            operator, shape=(columns, rows), matvec=operator.rmatvec, rmatvec=operator.matvec
        )
    start = _random(min(rows, columns), [settings.seed], is_complex="complex" in operator.dtype)
    if not np.all(np.isfinite(operator.matvec(start))):
        reason = "the operator maps a vector to NaN or infinity"
        return Norm(None, None, "non_finite", settings.method, reason=reason), 1
    if settings.method == "power":
        steps = settings.iterations or power.STEPS
        ritz = power.iterate(operator, start, tolerance=_tolerance(settings.rtol), steps=steps)
    else:
        ritz = _until_ruled_out(operator, start, settings)
    estimate, probability = math.sqrt(ritz.value), None
    if len(ritz.values):
        estimate = envelopes.probable(ritz, min(rows, columns), FAILURE_PROBABILITY)
        probability = FAILURE_PROBABILITY
    norm = Norm(
        0.0,
        None,
        "estimate",
        settings.method,
        estimate=finite_or_none(_on_grid(estimate, _bits(settings.rtol), math.ceil)),
        failure_probability=probability,
        reason="nothing bounds the rounding of an operator that is not given by its entries",
    )
    return norm, ritz.matvecs


def _until_ruled_out(operator: LinearOperator, start: Array, settings: Settings) -> Ritz:
    """Run Golub and Kahan until the probable bound is as tight as the tolerance."""
    n = operator.shape[1]
    return lanczos.bidiagonalise(
        operator,
        start,
        tolerance=_tolerance(settings.rtol),
        steps=settings.iterations or lanczos.STEPS,
        delta=math.exp(envelopes.log_delta(n, FAILURE_PROBABILITY)) if n >= 3 else None,
    )


def _start(tall: Tall, seed: int, *, mixed: bool = False) -> NDArray[np.generic]:
    words = [seed]
    if mixed:
        digest = hashlib.sha256()
        for _, block in tall.blocks():
            digest.update(np.ascontiguousarray(on_cpu(block)).tobytes())
        words += np.frombuffer(digest.digest(), dtype="<u4").tolist()
    return _random(tall.columns, words, is_complex=tall.is_complex)


def _random(size: int, words: list[int], *, is_complex: bool) -> NDArray[np.generic]:
    """Return Gaussian numbers: uniform on the sphere, once they are normalised."""
    generator = np.random.default_rng([abs(word) for word in words])
    real = generator.standard_normal(size)
    return real + 1j * generator.standard_normal(size) if is_complex else real


def _like(vector: Array, gram: Gram) -> Array:
    if type(vector) is type(gram.matrix):
        return vector
    return namespace(gram.matrix).asarray(vector, device=gram.matrix.device)


def _scaled_back(ends: Bracket, exponent: int, method: str, rtol: float) -> Norm:
    """Round the ends outwards to fewer digits, and undo the scaling."""
    bits = _bits(rtol)
    lower = _lowered(_on_grid(ends.lower, bits, math.floor), exponent)
    upper = _raised(_on_grid(ends.upper, bits, math.ceil), exponent)
    if upper == math.inf:
        reason = "the norm is past the largest binary64 number"
        return Norm(lower, None, "unbounded", method, reason=reason)
    return Norm.certified(Bracket(lower, upper), method)


def _bits(rtol: float) -> int:
    """Digits to keep: 14 past the tolerance.

    The last digits of a result depend on BLAS's threads and on the processor. Rounded
    outwards to this many bits they hardly ever do: the same input, the same document.
    """
    return min(52, 14 - math.floor(math.log2(max(rtol, U))))


def _on_grid(value: float, bits: int, toward: Callable[[float], int]) -> float:
    if not 0.0 < value < math.inf:
        return value
    mantissa, exponent = math.frexp(value)
    return math.ldexp(toward(math.ldexp(mantissa, bits)), exponent - bits)


def _lowered(value: float, exponent: int) -> float:
    """Return at most ``value * 2**exponent``."""
    try:
        scaled = math.ldexp(value, exponent)
    except OverflowError:
        return sys.float_info.max
    # Exact, unless the result is subnormal.
    return scaled if scaled >= _NORMAL else round_down(scaled)


def _raised(value: float, exponent: int) -> float:
    """Return at least ``value * 2**exponent``."""
    try:
        scaled = math.ldexp(value, exponent)
    except OverflowError:
        return math.inf
    return scaled if scaled >= _NORMAL or value == 0.0 else round_up(scaled)


_HEADROOM = 7.0
_DOUBLINGS = 16
_NORMAL = 2.0**-1021
