"""Symbols without a frequency: one matrix for each group, many of them at once."""

import numpy as np

from specaudit.bracket import Bracket
from specaudit.norms.blocks import namespace, on_cpu
from specaudit.norms.samples import Samples
from specaudit.norms.spectral import measured
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Points
from specaudit.operators import dense
from specaudit.report import Settings


def flat_norm(taps: Taps, *, rtol: float, seed: int) -> Bracket:
    """Return a bracket of the largest norm of the groups' matrices.

    Parameters
    ----------
    taps : Taps
        With one tap.

    Notes
    -----
    The matrix that LAPACK thinks largest is bracketed like any other; that none of the rest
    is larger takes one factorisation of each. What is too close to tell is bracketed too.
    """
    settings = Settings(rtol=rtol, seed=seed)
    matrices = taps.values[:, 0]
    if taps.groups == 1:
        return measured(dense(matrices[0]), settings)[0].bracket
    library = namespace(matrices)
    adjoint = library.conj(matrices) if taps.is_complex else matrices
    gram = library.permute_dims(adjoint, (0, 2, 1)) @ matrices
    squares = on_cpu(library.linalg.eigvalsh(gram))[:, -1]
    result, samples = Bracket(0.0, 0.0), Samples(taps)
    groups = np.argsort(-squares, kind="stable").astype(np.int64)
    while groups.size:
        result = result.max(measured(dense(matrices[int(groups[0])]), settings)[0].bracket)
        groups = groups[1:]
        limit = max(result.upper, result.lower * (1.0 + rtol / 2))
        nowhere = np.zeros((groups.size, 0), dtype=np.int64)
        failed = samples.larger(Points(groups, nowhere, nowhere), np.full(groups.size, limit))
        result, groups = Bracket(result.lower, limit), groups[failed]
    return result
