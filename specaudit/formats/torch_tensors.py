"""From the records of a torch pickle to tensors: what each ``_rebuild_…`` call describes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.composed import Inline, Quantised, Sparse
from specaudit.formats.files import shown
from specaudit.formats.records import Call, Global, Storage, pairs_of
from specaudit.formats.regions import Region
from specaudit.formats.strided import ITEM_SIZES, Strided

STORAGES: Final = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "untyped",
}
STORAGE_SIZES: Final = {**ITEM_SIZES, "qint8": 1, "quint8": 1, "qint32": 4, "untyped": 1}
QUANTISED: Final = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
DTYPES: Final = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A tensor that the file names and no values can be given for."""

    reason: str


Tensor: TypeAlias = Strided | Quantised | Sparse | Inline | Missing


@dataclass(frozen=True, slots=True)
class Store:
    """The storages of a checkpoint, by key."""

    regions: Mapping[str, Region]
    big_endian: bool = False

    def tensor(self, record: object) -> "Tensor | None":
        """The tensor that a record describes; None if it describes none.

        Raises
        ------
        UnreadableModel
            It describes one that cannot be: out of bounds, of contradicting types, …
        """
        if type(record) is Storage:
            if record.kind not in ITEM_SIZES:
                return Missing(f"a bare storage of type {record.kind}")
            return self.view(record, record.kind, 0, (record.count,), (1,))
        if type(record) is not Call:
            return None
        if record.callee.module.startswith("numpy."):
            return numpy_array(record)
        rebuild = REBUILD.get(str(record.callee))
        if rebuild is None or record.new:
            return None
        try:
            return rebuild(self, *record.args)
        except TypeError as error:  # the wrong number of arguments
            raise UnreadableModel(f"{record.callee.name} is called with odd arguments") from error

    def dense(self, record: object, meaning: str) -> Strided:
        """The plain tensor that is part of another one."""
        tensor = self.tensor(record)
        if not isinstance(tensor, Strided):
            raise UnreadableModel(f"{meaning} is not a plain tensor")
        return tensor

    def view(
        self, storage: object, dtype: str, offset: object, shape: object, strides: object
    ) -> "Strided | Missing":
        """A checked view of a storage."""
        if type(storage) is not Storage:
            raise UnreadableModel("a tensor is not laid over a storage")
        if storage.location == "meta":
            return Missing("a tensor on the meta device: the file holds no data for it")
        if storage.key not in self.regions:
            raise UnreadableModel(f"the data of storage {shown(storage.key)} is not in the file")
        region = self.regions[storage.key]
        item_size = STORAGE_SIZES.get(storage.kind, 0)
        if storage.count * item_size > region.size:
            raise UnreadableModel(
                f"{region.label()} is truncated: {region.size} bytes for "
                f"{storage.count} elements of {storage.kind}"
            )
        if type(offset) is not int:
            raise UnreadableModel("a tensor's offset is not a number")
        if offset < 0:
            raise UnreadableModel("a tensor's offset is negative")
        begin = offset + storage.offset
        sizes, steps = naturals(shape, "sizes"), naturals(strides, "strides")
        return Strided(region, dtype, sizes, steps, begin, self.big_endian).check()

    def version_2(
        self,
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        requires_grad: object = None,
        hooks: object = None,
        metadata: object = None,
    ) -> Tensor:
        """``_rebuild_tensor`` and ``_rebuild_tensor_v2``: the storage knows the type."""
        if type(storage) is not Storage:
            raise UnreadableModel("a tensor is not laid over a storage")
        if storage.kind not in ITEM_SIZES:
            return Missing(f"storage type {storage.kind} is not read")
        return marked(self.view(storage, storage.kind, offset, shape, strides), metadata)

    def version_3(
        self,
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        requires_grad: object,
        hooks: object,
        dtype: object,
        metadata: object = None,
    ) -> Tensor:
        """``_rebuild_tensor_v3``: the type is given, the storage is bytes."""
        name = dtype_name(dtype)
        if name not in ITEM_SIZES:
            return Missing(f"type {name} is not read")
        return marked(self.view(storage, name, offset, shape, strides), metadata)

    def parameter(self, data: object, *_rest: object) -> Tensor:
        """``_rebuild_parameter`` and all that wraps one tensor."""
        tensor = self.tensor(data)
        return (
            Missing("a parameter of something that is not a tensor") if tensor is None else tensor
        )

    def subclass(self, function: object, kind: object, args: object, *_state: object) -> Tensor:
        """``_rebuild_from_type_v2``: a rebuild call, wrapped in a class."""
        if type(function) is not Global or type(args) is not tuple:
            raise UnreadableModel("a tensor subclass is not made by a call")
        tensor = self.tensor(Call(function, args))
        name = f"{kind}" if type(kind) is Global else "an unknown class"
        return Missing(f"a tensor of class {name}") if tensor is None else tensor

    def meta(self, dtype: object, shape: object, strides: object, *_rest: object) -> Tensor:
        """``_rebuild_meta_tensor_no_storage``: a shape and nothing else."""
        if math.prod(naturals(shape, "sizes")) > limits.TENSOR_ELEMENTS:
            raise UnreadableModel("a meta tensor's size is beyond any model's")
        return Missing("a tensor on the meta device: the file holds no data for it")

    def quantised(
        self,
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        parameters: object,
        *_rest: object,
    ) -> Tensor:
        """``_rebuild_qtensor``."""
        if type(storage) is not Storage or type(parameters) is not tuple:
            raise UnreadableModel("a quantised tensor is not laid over a storage")
        if storage.kind not in QUANTISED:
            return Missing(f"quantised type {storage.kind} is not read")
        integers = self.view(storage, QUANTISED[storage.kind], offset, shape, strides)
        if isinstance(integers, Missing):
            return integers
        match parameters:
            case (Global(name="per_tensor_affine"), float(scale), int(zero)):
                return Quantised(integers, (scale,), (float(zero),), None)
            case (
                Global(name="per_channel_affine" | "per_channel_affine_float_qparams"),
                scales,
                zeros,
                int(axis),
            ):
                return per_channel(integers, self.channel(scales), self.channel(zeros), axis)
            case _:
                return Missing("a quantised tensor of an unknown scheme")

    def channel(self, record: object) -> Strided | tuple[float, ...]:
        """Scales or zero points: a tensor, or a list of numbers."""
        if type(record) is list:
            if any(type(item) not in (int, float) for item in record):
                raise UnreadableModel("a quantised tensor's scales are not numbers")
            return tuple(float(item) for item in record)
        return self.dense(record, "a quantised tensor's scale")

    def sparse(self, layout: object, data: object) -> Tensor:
        """``_rebuild_sparse_tensor``, any layout."""
        name = layout_name(layout)
        match name, data:
            case "sparse_coo", (indices, entries, shape, *_):
                plain, compressed = self.dense(indices, "a sparse tensor's indices"), None
            case (("sparse_csr" | "sparse_csc"), (pointers, indices, entries, shape)):
                plain = self.dense(indices, "a sparse tensor's indices")
                compressed = self.dense(pointers, "a sparse tensor's pointers")
            case _:
                return Missing(f"sparse layout {shown(name)} is not read")
        sizes = naturals(shape, "sizes")
        body = self.dense(entries, "a sparse tensor's values")
        return Sparse(plain, compressed, body, sizes, by_column=name == "sparse_csc").check()

    def from_numpy(self, data: object, *_rest: object) -> Tensor:
        """``_rebuild_device_tensor_from_numpy``: data of devices that torch has no storage for."""
        array = numpy_array(data) if type(data) is Call else None
        return array or Missing("a device tensor whose data is not a NumPy array")

    def unread(self, *_args: object) -> Tensor:
        """Layouts whose values are not given."""
        return Missing("a nested, uninitialised or wrapped tensor is not read")


Rebuild: TypeAlias = Callable[..., Tensor]
REBUILD: Final[dict[str, Rebuild]] = {
    "torch._utils._rebuild_tensor": Store.version_2,
    "torch._utils._rebuild_tensor_v2": Store.version_2,
    "torch._utils._rebuild_tensor_v3": Store.version_3,
    "torch._utils._rebuild_parameter": Store.parameter,
    "torch._utils._rebuild_parameter_with_state": Store.parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": Store.parameter,
    "torch.autograd.variable.Variable": Store.parameter,
    "torch.nn.parameter.Buffer": Store.parameter,
    "torch.nn.parameter.Parameter": Store.parameter,
    "torch._utils._rebuild_qtensor": Store.quantised,
    "torch._utils._rebuild_sparse_tensor": Store.sparse,
    "torch._utils._rebuild_sparse_csr_tensor": Store.sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": Store.meta,
    "torch._utils._rebuild_nested_tensor": Store.unread,
    "torch._utils._rebuild_wrapper_subclass": Store.unread,
    "torch.nn.parameter.UninitializedParameter": Store.unread,
    "torch.nn.parameter.UninitializedBuffer": Store.unread,
    "torch._utils._rebuild_device_tensor_from_numpy": Store.from_numpy,
    "torch._utils._rebuild_xla_tensor": Store.from_numpy,
    "torch._tensor._rebuild_from_type": Store.subclass,
    "torch._tensor._rebuild_from_type_v2": Store.subclass,
    "torch.tensor._rebuild_from_type": Store.subclass,
}


def naturals(record: object, meaning: str) -> tuple[int, ...]:
    """A tuple of numbers, none negative, none beyond 64 bits."""
    items = record if isinstance(record, list | tuple) else None
    if items is None or any(type(n) is not int or not 0 <= n < 1 << 63 for n in items):
        raise UnreadableModel(f"a tensor's {meaning} are not natural numbers")
    return tuple(items)


def marked(tensor: Strided | Missing, metadata: object) -> Tensor:
    """With the bits that torch keeps beside the data."""
    if isinstance(tensor, Missing) or metadata is None:
        return tensor
    bits = {key: value for key, value in pairs_of(metadata) or () if type(key) is str}
    return replace(tensor, conjugate=bits.get("conj") is True, negative=bits.get("neg") is True)


def per_channel(
    integers: Strided,
    scales: Strided | tuple[float, ...],
    zeros: Strided | tuple[float, ...],
    axis: int,
) -> Quantised:
    """Quantised along `axis`, checked."""
    if not 0 <= axis < len(integers.shape):
        raise UnreadableModel("a quantised tensor's axis is not one of its own")
    for given in (scales, zeros):
        length = given.shape if isinstance(given, Strided) else (len(given),)
        if length != (integers.shape[axis],):
            raise UnreadableModel("a quantised tensor has not one scale for each channel")
    return Quantised(integers, scales, zeros, axis)


def dtype_name(record: object) -> str:
    """The name of a pickled torch.dtype."""
    if type(record) is not Global or record.module != "torch":
        raise UnreadableModel("a tensor's type is not a torch type")
    return DTYPES.get(record.name, record.name)


def layout_name(record: object) -> str:
    """The name of a pickled torch.layout."""
    if type(record) is Call and record.args and type(record.args[0]) is str:
        return record.args[0].removeprefix("torch.")
    return record.name if type(record) is Global else "unknown"


def numpy_array(record: Call) -> Tensor | None:
    """The array of ``_reconstruct`` and the state set on it, or of ``_frombuffer``."""
    match record.callee.name, record.args, (record.states or [None])[-1]:
        case "_reconstruct", _, (_, shape, Call() as kind, major, (bytes() | str()) as data):
            column_major = major is True
        case "_frombuffer", ((bytes() | str()) as data, Call() as kind, shape, order), _:
            column_major = order == "F"
        case _:
            return None
    sizes = naturals(shape, "sizes")
    dtype, big_endian = numpy_type(kind)
    if dtype not in ITEM_SIZES:
        return Missing("a NumPy array of a type that is not read")
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) != math.prod(sizes) * ITEM_SIZES[dtype] or len(sizes) > 64:
        raise UnreadableModel("a NumPy array's data does not have its shape")
    return Inline(raw, dtype, sizes, column_major, big_endian)


def numpy_type(record: Call) -> tuple[str, bool]:
    """The name of a pickled numpy.dtype, and whether it is big-endian."""
    code = record.args[0] if record.args else ""
    order = next(
        (state[1] for state in record.states or () if isinstance(state, tuple) and len(state) > 1),
        "|",
    )
    return NUMPY_CODES.get(code if type(code) is str else "", "unknown"), order == ">"


NUMPY_CODES: Final = {
    "b1": "bool",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "u8": "uint64",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
}
