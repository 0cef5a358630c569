"""Where norms are computed: NumPy on the CPU, torch on a GPU."""

import os

import numpy as np

from specaudit.errors import UsageError
from specaudit.operators import Array, widen


def resolve(device: str) -> str:
    """Return the device that a name stands for: ``auto`` is a GPU where there is one.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    if device == "cpu":
        return "cpu"
    try:
        import torch  # 1.4 s, which the CPU does not pay
    except ImportError:
        if device == "auto":
            return "cpu"
        raise UsageError(
            f"--device {device} needs torch", help="pip install 'specaudit[torch]'"
        ) from None
    present = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if present else "cpu"
    name, _, index = device.partition(":")
    if name != "cuda" or not (index == "" or index.isdecimal()):
        raise UsageError(f"unknown device {device!r}", help="cpu, cuda, cuda:N or auto")
    if not present or int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {device}", help="use --device cpu")
    return device


def place(array: Array, device: str) -> Array:
    """Return an array where its norm is to be computed.

    Notes
    -----
    On a GPU nothing is multiplied in a type below float64, so that TF32 has no part in it;
    cuBLAS can be told to emulate float64 by low-precision products, for which the error
    bound of a conventional product does not hold, so that this is refused.
    """
    if device == "cpu":
        return array
    if os.environ.get("CUBLAS_EMULATE_DOUBLE_PRECISION", "0") not in ("", "0"):
        raise UsageError(
            "cuBLAS is told to emulate float64, and no bound of its rounding is known",
            help="unset CUBLAS_EMULATE_DOUBLE_PRECISION, or use --device cpu",
        )
    import torch

    if array.dtype.kind not in "biuf" or array.dtype.itemsize < 4:
        # torch takes no arrays of ml_dtypes; all of those fit into float32.
        array = widen(array) if array.dtype.kind == "c" else array.astype(np.float32)
    elif array.dtype.kind == "u":
        array = widen(array)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
