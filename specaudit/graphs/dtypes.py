"""ONNX's element types by number, and their NumPy types."""

import numpy as np

ELEMENT_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
    27: "float6_e2m3fn",
    28: "float6_e3m2fn",
}

INTEGERS = {name for name in ELEMENT_TYPES.values() if name.startswith(("int", "uint"))}


def numpy_dtype(name: str | None) -> "np.dtype[np.generic] | None":
    """NumPy's type of that name (ml_dtypes' included), or None."""
    if name is None or name == "string":
        return None
    import ml_dtypes  # registers its types; late, since a model without them need not wait

    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:
        return None


def is_float(dtype: "np.dtype[np.generic]") -> bool:
    """Whether numbers of the dtype have a fraction (ml_dtypes' kinds are "V" or "f")."""
    return dtype.kind == "f" or "float" in dtype.name


def is_integer(dtype: "np.dtype[np.generic]") -> bool:
    """Whether numbers of the dtype are whole; bool is none."""
    return dtype.kind in "iu" or dtype.name in INTEGERS


def limits(dtype: "np.dtype[np.generic]") -> tuple[float, float]:
    """Smallest and largest finite number of a dtype."""
    import ml_dtypes

    whole = is_integer(dtype)
    found = ml_dtypes.iinfo(dtype) if whole else ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return (int(found.min), int(found.max)) if whole else (float(found.min), float(found.max))
