from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from specaudit.policy import figures

FINITE = st.floats(0, 1e308)


def decimal(text):
    return Decimal("Infinity") if text == "∞" else Decimal(text)


@given(FINITE, FINITE)
def test_printed_ends_are_outside(a, b):
    low, high = figures.ends(min(a, b), max(a, b))
    assert decimal(low) <= Decimal(min(a, b))
    assert decimal(high) >= Decimal(max(a, b))


@given(FINITE.filter(lambda x: x > 1e-300))
def test_printed_ends_are_close(value):
    low, high = map(decimal, figures.ends(value, value))
    # Six digits, each end off by less than one in the sixth: below 1e-5 relative.
    assert high - low <= Decimal(value) * Decimal("2e-5")


@given(FINITE, st.integers(-3, 3))
def test_the_inequality_shows(limit, steps):
    value = limit
    for _ in range(abs(steps)):
        value = max(0.0, _next(value, steps))
    written = decimal(figures.exact(limit))
    for text in (figures.floor(value, limit), figures.ceiling(value, limit)):
        shown = decimal(text)
        assert (shown > written) == (value > limit)
        assert (shown < written) == (value < limit)


def _next(value, direction):
    import math

    return math.nextafter(value, math.inf if direction > 0 else -math.inf)


@given(FINITE)
def test_exact_reads_back(value):
    assert float(figures.exact(value)) == value


def test_what_is_not_a_number_is_said():
    assert figures.ceiling(None) == "∞"
    assert figures.interval(2.0, None) == "[2, ∞)"
    assert figures.magnitude(None, None) == "∞"
    assert figures.magnitude(None, 264.3071) == "10^264.308"


@given(FINITE)
def test_a_bound_of_any_size_is_rounded_up_and_filled_by_no_zeros(value):
    text = figures.magnitude(value, None)
    assert Decimal(value) <= decimal(text) <= Decimal(value) * Decimal("1.01")
    assert len(text.rstrip("0")) >= len(text) - 7
