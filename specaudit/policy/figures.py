"""Numbers as people read them: rounded outwards, with digits enough to show the verdict."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_EXACT = 26  # digits past which no two binary64 numbers near each other print alike
_LARGE = 1e7  # a bound past it has its size to say, not its sixth digit


def interval(lower: float | None, upper: float | None, limit: float | None = None) -> str:
    """Return ``[lower, upper]``, rounded outwards.

    Examples
    --------
    >>> interval(1 / 3, 2 / 3)
    '[0.333333, 0.666667]'
    >>> interval(1.0, 1.0)
    '1'
    """
    low, high = ends(lower, upper, limit)
    if low == high:
        return low
    return f"[{low}, {high}{')' if upper is None else ']'}"


def ends(
    lower: float | None, upper: float | None, limit: float | None = None, digits: int = 6
) -> tuple[str, str]:
    """Return both ends as text, rounded outwards, on the sides of `limit` where they are.

    Examples
    --------
    >>> ends(2.9999999996, 3.0000000008, limit=3.0), ends(3.0000000004, 3.0000000008, limit=3.0)
    (('2.99999', '3.00001'), ('3.0000000004', '3.00001'))
    """
    return floor(lower or 0.0, limit, digits), ceiling(upper, limit, digits)


def floor(value: float, limit: float | None = None, digits: int = 6) -> str:
    """Return a lower end as text, rounded down."""
    return _directed(value, ROUND_FLOOR, limit, digits)


def ceiling(value: float | None, limit: float | None = None, digits: int = 6) -> str:
    """Return an upper end as text, rounded up; None is infinity."""
    if value is None or value == math.inf:
        return "∞"
    return _directed(value, ROUND_CEILING, limit, digits)


def exact(value: float) -> str:
    """Return the shortest text that reads back as `value`: for limits, which people wrote."""
    return _text(Decimal(repr(value)), filled=True)


def magnitude(upper: float | None, log10_upper: float | None, limit: float | None = None) -> str:
    """Return an upper bound that may lie beyond binary64.

    Examples
    --------
    >>> magnitude(None, 264.3071), magnitude(50.541, 1.7036), magnitude(516161616161616.0, 14.713)
    ('10^264.308', '50.541', '5.17e14')
    """
    if upper is not None:
        return ceiling(upper, limit, digits=6 if upper < _LARGE else 3)
    if log10_upper is None or not math.isfinite(log10_upper):
        return "∞"
    return f"10^{ceiling(log10_upper)}"


def _directed(value: float, rounding: str, limit: float | None, digits: int) -> str:
    if limit is not None and value == limit:
        return exact(limit)
    number = Decimal(value)
    wanted = digits
    while True:
        rounded = Context(prec=wanted, rounding=rounding).plus(number)
        if limit is None or wanted >= _EXACT or _same_side(rounded, value, limit):
            return _text(rounded)
        wanted += 1


def _same_side(rounded: Decimal, value: float, limit: float) -> bool:
    written = Decimal(repr(limit))
    return rounded > written if value > limit else rounded < written


def _text(number: Decimal, *, filled: bool = False) -> str:
    """Write a number out, unless zeros that are no digits of it would fill it (`filled`)."""
    if not number.is_finite():
        return "∞" if number > 0 else "-∞"
    if number == 0:
        return "0"
    exponent = number.adjusted()
    digits = len(number.normalize().as_tuple().digits)
    if -5 <= exponent < 16 and (filled or exponent < max(digits, 7)):
        plain = format(number, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa = format(number.scaleb(-exponent), "f")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{exponent}"
