"""What is not measured, with its reason; a value that is not finite never goes unnoticed."""

from typing import TYPE_CHECKING

from specaudit.report import Skipped

if TYPE_CHECKING:
    from specaudit.model import Tensor, Weight

_CHUNK = 1 << 20


def skip(weight: "Weight", reason: str, *, covered: bool = True, infinite: bool = False) -> Skipped:
    """Return the entry of a tensor that is not measured.

    Parameters
    ----------
    weight : Weight
    reason : str
    covered : bool
        Whether leaving it out is right.
    infinite : bool
        Whether infinities belong in it, as they do in an attention mask.

    Notes
    -----
    A tensor of floating-point numbers is read, a piece at a time after the read: NaN in a
    bias or in the running statistics of a batch norm makes the network useless just as NaN
    in a weight does, and must not pass.
    """
    trouble = "" if not is_float(weight.dtype) else _trouble(weight.read(), infinite)
    if trouble:
        return Skipped(weight.name, weight.shape, f"{reason}; holds {trouble}", covered=False)
    return Skipped(weight.name, weight.shape, reason, covered)


def is_float(dtype: str) -> bool:
    """Whether a type holds real or complex numbers (torch's qint types come as float64)."""
    return dtype.startswith(("float", "bfloat", "complex", "q"))


def _trouble(values: "Tensor", infinite: bool) -> str:
    import numpy as np  # not paid for by what skips nothing

    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        piece = flat[start : start + _CHUNK]
        if piece.dtype.kind not in "fc":  # of ml_dtypes: each fits into float32
            piece = piece.astype(np.float32)
        if np.isnan(piece).any():
            return "NaN"
        if not infinite and not np.isfinite(piece).all():
            return "infinity"
    return ""
