"""Two inputs, their images, and the quotient that they prove."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specaudit.witness.balls import STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specaudit.witness.balls import Array

_BITS = 32


@dataclass(frozen=True, slots=True)
class Witness:
    """A pair of inputs.

    Parameters
    ----------
    a, b : mapping of str to ndarray
        The inputs by name, every one of the model's, in the types the model declares.
    image_a, image_b : mapping of str to ndarray
        The outputs by name.
    lower : float
        Not above ``|f(a) - f(b)| / |a - b|`` in exact arithmetic; 0 where nothing is proved.
    """

    a: "Mapping[str, NDArray[np.generic]]"
    b: "Mapping[str, NDArray[np.generic]]"
    image_a: "Mapping[str, NDArray[np.generic]]"
    image_b: "Mapping[str, NDArray[np.generic]]"
    lower: float

    @property
    def quotient(self) -> float:
        """``|f(a) - f(b)| / |a - b|`` as it was seen, with whatever rounding did to it."""
        image = _flat(self.image_a) - _flat(self.image_b)
        return _norm(image) / _norm(_flat(self.a) - _flat(self.b))

    def arrays(self) -> "dict[str, NDArray[np.generic]]":
        """The pair as named arrays: ``a/<input>``, ``image_a/<output>``, and so for ``b``."""
        kept: dict[str, NDArray[np.generic]] = {}
        for side in ("a", "b", "image_a", "image_b"):
            kept |= {f"{side}/{name}": values for name, values in getattr(self, side).items()}
        return kept | {"lower": np.array(self.lower), "quotient": np.array(self.quotient)}


def least_quotient(least: "Array", step: "Array") -> float:
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


def _flat(parts: "Mapping[str, NDArray[np.generic]]") -> "Array":
    whole = [np.asarray(part, dtype=np.float64).reshape(-1) for part in parts.values()]
    return np.concatenate(whole)


def _norm(vector: "Array") -> float:
    largest = float(np.abs(vector).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * math.sqrt(float(np.square(vector / largest).sum()))
