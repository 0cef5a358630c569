"""Numbers to the bytes that a file keeps for them: rounded to nearest, ties to even, once."""

import math

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnsupportedModel
from specaudit.formats.tensors import BITS, numpy_type

EXACT = ("int", "uint", "bool")
LARGEST = {"float6_e2m3fn": 7.5, "float6_e3m2fn": 28.0, "float4_e2m1fn": 6.0}
NARROW = ("bfloat16", "float8", "float6", "float4")


def encode(
    values: NDArray[np.generic], dtype: str, shape: tuple[int, ...], where: str
) -> NDArray[np.generic]:
    """`values` in the stored type, as an ndarray of `shape` in native byte order.

    Raises
    ------
    UnsupportedModel
        The shape is another one, or the type has no number near to one of the values: it is
        complex, beyond the largest, or a fraction where the file holds integers.

    Examples
    --------
    >>> encode(np.array([1 + 2**-8 + 2**-40]), "bfloat16", (1,), "")
    array([1.00781], dtype=bfloat16)
    """
    given = np.asarray(values)
    if given.shape != shape:
        _refuse(f"values of shape {given.shape} for a tensor of shape {shape}", where)
    target = numpy_type(dtype)
    if given.dtype == target:
        return given
    complex_given = given.dtype.kind == "c"
    if complex_given and not dtype.startswith("complex"):
        _refuse(f"complex values for a tensor of {dtype}", where)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = dtype.startswith(NARROW) and given.dtype == np.float64
        stored = (round_to_odd(given) if narrow else given).astype(target)
        if not (is_exact if dtype.startswith(EXACT) else is_near)(given, stored, dtype):
            _refuse(f"{dtype} cannot hold the new values", where)
    return stored


def round_to_odd(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 with the last bit set wherever it is not exact.

    ml_dtypes goes from float64 to its types by way of float32, and rounding twice is off by
    an ulp next to every tie. With an odd step in between it is not: Boldo & Melquiond,
    "Emulation of FMA and correctly rounded sums", 2008, theorem 1.
    """
    rounded = values.astype(np.float32)
    back = rounded.astype(np.float64)
    bits = rounded.view(np.uint32)
    even = (back != values) & (values == values) & (bits & 1 == 0)
    bits[even] += np.where(np.abs(values) > np.abs(back), 1, -1)[even].astype(np.uint32)
    return rounded


def is_exact(given: NDArray[np.generic], stored: NDArray[np.generic], dtype: str) -> bool:
    """Whether integers came through as they were."""
    return bool(np.array_equal(stored.astype(given.dtype), given))


def is_near(given: NDArray[np.generic], stored: NDArray[np.generic], dtype: str) -> bool:
    """Whether what was finite still is, and nothing was clipped."""
    finite = np.isfinite(stored)
    if not finite.all() and not np.array_equal(finite, np.isfinite(given)):
        return False
    if BITS[dtype] < 8 and given.size:  # these have no infinity, and saturate
        return bool(np.abs(given).max() <= LARGEST[dtype])
    return True


def patterns(
    stored: NDArray[np.generic], dtype: str, *, big_endian: bool = False
) -> NDArray[np.uint8]:
    """The bytes of `stored`: of shape ``(*shape, itemsize)``; one run for types under a byte."""
    if BITS[dtype] < 8:
        return pack(np.ascontiguousarray(stored).view(np.uint8).reshape(-1), BITS[dtype])
    component = BITS[dtype] // (16 if dtype.startswith("complex") else 8)
    stored = np.ascontiguousarray(stored).reshape(stored.shape)
    if big_endian and component > 1:
        numbers = stored.reshape(-1).view(f"u{component}").byteswap()
        return numbers.view(np.uint8).reshape(*stored.shape, BITS[dtype] // 8)
    return stored.reshape(-1).view(np.uint8).reshape(*stored.shape, BITS[dtype] // 8)


def pack(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Numbers of 2, 4 or 6 bits put together, lowest bits first; the inverse of `unpack`."""
    group = math.lcm(bits, 8) // bits  # numbers after which they and bytes are in step again
    whole = np.zeros((-(-len(numbers) // group), group), dtype=np.uint8)
    whole.reshape(-1)[: len(numbers)] = numbers
    whole &= (1 << bits) - 1
    packed = np.zeros((len(whole), group * bits // 8), dtype=np.uint8)
    for index in range(group):
        byte, shift = divmod(index * bits, 8)
        packed[:, byte] |= whole[:, index] << shift
        if shift + bits > 8:
            packed[:, byte + 1] |= whole[:, index] >> (8 - shift)
    return packed.reshape(-1)[: -(-len(numbers) * bits // 8)]


def _refuse(reason: str, where: str) -> None:
    raise UnsupportedModel(reason, where=where)
