"""Weights as linear maps: the layer a tensor is, and the operator a norm algorithm sees."""

from collections.abc import Callable, Mapping
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
    node : str or None
        The graph node that applies it.
    geometry : Geometry or None
        Of a convolution, where something says it.
    tensors : tuple of Weight
        Those that `read` depends on, the deciding one first.
    write : callable or None
        Maps a new effective weight (the layout of `read`) to new values of tensors:
        ``{tensor name: ndarray of its shape}``. None where that is not possible.
    notes : tuple of str
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
