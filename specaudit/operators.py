"""Weights as linear maps: the layer a tensor is, and the operator a norm algorithm sees."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from specaudit.report import Geometry, Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specaudit.model import Weight

# An array of whichever library the operator lives in (NumPy, or torch on CUDA).
Array: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class LinearOperator:
    """All that a norm algorithm may know of a weight.

    Parameters
    ----------
    shape : (m, n)
    dtype : str
        Stored type of the entries; the arithmetic is float64.
    matvec, rmatvec : callable
        ``(n,) -> (m,)`` and its adjoint ``(m,) -> (n,)``, in float64 (complex128 for a
        complex matrix); a block ``(n, k)`` is taken as k columns.
    dense : callable or None
        Returns the entries as an ``(m, n)`` array of the stored type, or None where forming
        them is out of proportion.
    """

    shape: tuple[int, int]
    dtype: str
    matvec: Callable[[Array], Array]
    rmatvec: Callable[[Array], Array]
    dense: Callable[[], Array] | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A weight as the linear map that it is in the network.

    Parameters
    ----------
    name : str
        The parameter's name; the effective weight's where it is parametrised
        (``conv.weight`` for ``conv.weight_g`` and ``conv.weight_v``).
    kind : Kind
    shape : tuple of int
        Of the tensor as the file stores it.
    dtype : str
        As the file stores it.
    read : callable
        Returns the *effective* weight in the layout of its kind, any real float type:
        ``linear``, ``recurrent`` (m, n) with ``y = W x``; ``convolution``
        (out, in/group, k…); ``convolution_transposed`` (in, out/group, k…); ``embedding``
        (entries, width); ``bilinear`` (out, in1, in2); ``scale`` (n,).
    node, op : str or None
        The graph node that applies it, and its operation.
    geometry : Geometry or None
        Of a convolution, where something says it.
    tensors : tuple of Weight
        Those that `read` depends on, the deciding one first.
    write : callable or None
        Maps a new effective weight (the layout of `read`) to new values of tensors:
        ``{tensor name: ndarray of its shape}``. None where that is not possible.
    notes : tuple of str
    roundings : int
        How many roundings of binary64 lie between an entry that `read` returns and the exact
        one, at most: 0 for what is stored, a few for what is computed from several tensors.
    error : callable or None
        Returns a bound, in the Frobenius norm, of what `read` loses beyond that: for sums,
        which can cancel.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    read: "Callable[[], NDArray[np.generic]]"
    node: str | None = None
    geometry: Geometry | None = None
    tensors: "tuple[Weight, ...]" = ()
    write: "Callable[[NDArray[np.generic]], Mapping[str, NDArray[np.generic]]] | None" = None
    notes: tuple[str, ...] = ()
    op: str | None = None
    roundings: int = 0
    error: Callable[[], float] | None = None


def dense(matrix: Array) -> LinearOperator:
    """Return the operator of a matrix that is in memory.

    Parameters
    ----------
    matrix : ndarray or tensor, shape (m, n)
        Of any type whose values binary64 holds.

    Examples
    --------
    >>> import numpy as np
    >>> dense(np.array([[3, 0], [0, 4]], dtype=np.int8)).matvec(np.ones(2))
    array([3., 4.])

    Notes
    -----
    A product widens the matrix a block of rows at a time, so that a float32 matrix is
    never held in float64 as a whole.
    """
    rows, columns = matrix.shape
    step = max(1, _BLOCK_BYTES // (8 * max(columns, 1)))

    def matvec(vector: Array) -> Array:
        blocks = [widen(matrix[i : i + step]) @ vector for i in range(0, rows, step)]
        return _stack(blocks, vector)

    def rmatvec(vector: Array) -> Array:
        total = 0.0
        for i in range(0, rows, step):
            total = total + widen(matrix[i : i + step]).T.conj() @ vector[i : i + step]
        return total

    return LinearOperator((rows, columns), _name(matrix), matvec, rmatvec, lambda: matrix)


def flattened(kernel: Array, *, transposed: bool = False) -> LinearOperator:
    """Return a convolution's kernel as a matrix: one row for every output channel.

    Parameters
    ----------
    kernel : ndarray, shape (out, in/group, k…), or (in, out/group, k…) if `transposed`

    Notes
    -----
    This is the matrix whose norm torch's ``spectral_norm`` takes: the kernel of a
    transposed convolution is unfolded along its axis 1. It is not the operator.

    Examples
    --------
    >>> import numpy as np
    >>> flattened(np.ones((4, 3, 5, 5))).shape
    (4, 75)
    >>> flattened(np.ones((4, 3, 5, 5)), transposed=True).shape
    (3, 100)
    """
    if transposed:
        kernel = kernel.swapaxes(0, 1)
    columns = 1
    for dimension in kernel.shape[1:]:
        columns *= dimension
    return dense(kernel.reshape(kernel.shape[0], columns))


def grouped(parts: Sequence[LinearOperator]) -> LinearOperator:
    """Return the block-diagonal operator; its norm is the largest of its parts' norms."""
    rows = [part.shape[0] for part in parts]
    columns = [part.shape[1] for part in parts]

    def apply(vector: Array, sizes: list[int], adjoint: bool) -> Array:
        results, start = [], 0
        for part, size in zip(parts, sizes, strict=True):
            product = part.rmatvec if adjoint else part.matvec
            results.append(product(vector[start : start + size]))
            start += size
        return _stack(results, vector)

    return LinearOperator(
        (sum(rows), sum(columns)),
        parts[0].dtype,
        lambda vector: apply(vector, columns, adjoint=False),
        lambda vector: apply(vector, rows, adjoint=True),
    )


def composed(outer: LinearOperator, inner: LinearOperator) -> LinearOperator:
    """Return the operator which applies `inner`, then `outer`."""
    return LinearOperator(
        (outer.shape[0], inner.shape[1]),
        outer.dtype,
        lambda vector: outer.matvec(inner.matvec(vector)),
        lambda vector: inner.rmatvec(outer.rmatvec(vector)),
    )


def widen(block: Array) -> Array:
    """Return entries of any stored type as float64 or complex128, of the same library."""
    import numpy as np  # not at the top: the command line's --help does not pay for it

    if isinstance(block, np.ndarray):
        return block.astype(np.complex128 if block.dtype.kind == "c" else np.float64, copy=False)
    return block.cdouble() if block.is_complex() else block.double()


def entries(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield the entries of arrays of one shape, some at a time, as `widen` gives them."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _IN_CACHE):
        yield tuple(widen(array[start : start + _IN_CACHE]) for array in flat)


_BLOCK_BYTES = 1 << 24
_IN_CACHE = 1 << 16


def _name(matrix: Array) -> str:
    return str(matrix.dtype).removeprefix("torch.")


def _stack(blocks: list[Array], like: Array) -> Array:
    import numpy as np

    if isinstance(like, np.ndarray):
        return np.concatenate(blocks)
    from array_api_compat import array_namespace

    return array_namespace(like).concat(blocks)
