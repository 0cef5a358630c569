"""What a hostile or odd file is to the tests: a name, what must come of it, how to make it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CANARY = "canary"  # the name of a file that only executed code could create
LEAK = "7654.3"  # how the norm of the matrix outside the model's folder begins
SECRET = np.diag([7654.321, 1.0, 1.0, 1.0]).astype("<f4").tobytes()


@dataclass(frozen=True)
class Case:
    """A file to make.

    Parameters
    ----------
    name : str
    outcomes : str
        The letters of what is right, any of them: E refused, G readable but never green,
        O measured, W measured with something said, U a path that does not exist (exit 2).
    make : callable
        Writes the files into a folder and returns the path to audit.
    sigma : float or None
        Where it is measured: the largest spectral norm, to one part in a thousand.
    """

    name: str
    outcomes: str
    make: Callable[[Path], Path]
    sigma: float | None = None

    def __repr__(self) -> str:
        return self.name


class Collection(list[Case]):
    """Cases, gathered by decorating the functions that make them."""

    def add(
        self, outcomes: str, sigma: float | None = None, name: str = ""
    ) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
        def register(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
            self.append(Case(name or make.__name__, outcomes, make, sigma))
            return make

        return register
