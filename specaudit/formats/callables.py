"""Which names a pickle may mention, and which of them it may call.

Nothing that a pickle names is ever imported or called here. Files that would run code in
torch's own loader are refused all the same: they are hostile, or will hurt the next reader.

Refused: any name of Python's standard library that is not listed below, mentioned or called;
any function of torch, NumPy and their like that is not listed below, if it is called; the
loaders of code (`dill`, `cloudpickle`, …). Read: instances of any other class, their state
walked; calls of any other function, which are noted and whose arguments are walked.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NoReturn

from specaudit.errors import UnreadableModel
from specaudit.formats.files import shown
from specaudit.formats.records import Call, Global

OLD_MODULES: Final = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core": "numpy.core"}


def listed(table: dict[str, str]) -> frozenset[str]:
    """Qualified names, from the names of each module."""
    return frozenset(f"{module}.{name}" for module in table for name in table[module].split())


PLAIN: Final = listed(
    {
        "_codecs": "encode",
        "argparse": "Namespace",
        "builtins": "bool bytearray bytes complex dict float frozenset int list long object range "
        "set slice str tuple type unicode xrange",
        "collections": "Counter OrderedDict defaultdict deque",
        "copyreg": "_reconstructor __newobj__",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "functools": "partial",
        "itertools": "count",
        "logging": "Logger getLogger",
        "math": "exp log sqrt tanh",
        "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "random": "Random",
        "re": "_compile",
        "types": "SimpleNamespace",
        "typing": "Any Dict List Optional Tuple Union",
        "uuid": "UUID",
    }
)
REBUILDERS: Final = listed(
    {
        "torch._utils": "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
        "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor "
        "_rebuild_sparse_csr_tensor _rebuild_nested_tensor _rebuild_meta_tensor_no_storage "
        "_rebuild_wrapper_subclass _rebuild_device_tensor_from_numpy _rebuild_xla_tensor "
        "_rebuild_device_tensor_from_cpu_tensor",
        "torch._tensor": "_rebuild_from_type _rebuild_from_type_v2",
        "torch.tensor": "_rebuild_from_type",
        "torch.nn.parameter": "UninitializedParameter UninitializedBuffer",
    }
)
WRAPPERS: Final = listed(  # as torch pickled parameters before 0.4, their state set on them
    {"torch.autograd.variable": "Variable", "torch.nn.parameter": "Buffer Parameter"}
)
CALLABLE: Final = (
    PLAIN
    | REBUILDERS
    | WRAPPERS
    | listed(
        {
            "torch": "Size device",
            "torch.jit._pickle": "build_boollist build_doublelist build_intlist build_tensorlist "
            "restore_type_tag",
            "torch.nn.backends.thnn": "_get_thnn_function_backend",
            "torch.serialization": "_get_layout",
            "torch.torch_version": "TorchVersion",
            "numpy": "dtype ndarray",
            "numpy.core.multiarray": "_reconstruct scalar",
            "numpy.core.numeric": "_frombuffer",
            "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
        }
    )
)

STANDARD: Final = sys.stdlib_module_names | {"builtins", "nt", "posix", "pip", "setuptools"}
LOADERS: Final = {"IPython", "cloudpickle", "dill", "joblib", "pkg_resources", "distutils"}
LIBRARIES: Final = {"jax", "keras", "numpy", "pandas", "scipy", "tensorflow", "torch"}


@lru_cache(maxsize=1024)
def named(module: str, name: str) -> Global:
    """The record of a mentioned name, under the module it has today; raises if it is dangerous."""
    for old, new in OLD_MODULES.items():
        if module == old or module.startswith(f"{old}."):
            module = new + module[len(old) :]
    record = Global(module, name)
    root = module.partition(".")[0]
    # a dotted name reaches through a module into those it has imported: Net, "os.system"
    through = any(part in STANDARD for part in name.split(".")[:-1])
    if str(record) not in PLAIN and (root in STANDARD or root in LOADERS or through):
        refuse(record)
    return record


def call(record: object, args: object, foreign: dict[str, None]) -> object:
    """What calling `record` would give; the name of an unlisted one is added to `foreign`."""
    if type(record) is not Global:
        raise UnreadableModel("refused: pickle calls what another call returned")
    if type(args) is not tuple:
        raise UnreadableModel(f"pickle calls {shown(str(record))} without a tuple of arguments")
    full = str(record)
    if full in FOLDED:
        return FOLDED[full](record, args)
    if full not in CALLABLE:
        if record.module.partition(".")[0] in LIBRARIES:
            refuse(record)
        foreign[full] = None
    return Call(record, args)


def instance(record: object, args: object) -> Call:
    """A bare instance of the class `record`."""
    if type(record) is not Global or type(args) is not tuple:
        raise UnreadableModel("pickle makes an instance of what is not a class")
    if args and record.module.partition(".")[0] == "torch" and record.name.endswith(ALLOCATORS):
        refuse(record)  # its memory would be whatever lay there before
    return Call(record, args, new=True)


ALLOCATORS = ("Tensor", "Storage")


def refuse(record: Global) -> NoReturn:
    """Raise, naming what the pickle would call."""
    raise UnreadableModel(
        f"refused: pickle calls {escaped(str(record))}",
        help="do not load this file; if it is yours, save the state dict instead: "
        "torch.save(model.state_dict(), path)",
    )


def escaped(name: str) -> str:
    """A qualified name as an error message shows it, without quotes."""
    return shown(name)[1:-1]


def encode(record: Global, args: tuple[object, ...]) -> object:
    """``_codecs.encode(text, "latin1")``: bytes, as protocol 2 spells them."""
    match args:
        case (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
        case _:
            refuse(record)


def make_bytes(record: Global, args: tuple[object, ...]) -> object:
    """``bytes`` or ``bytearray`` of what is there; a number would allocate as many zeros."""
    match args:
        case ():
            return b""
        case (bytes(data),):
            return data
        case (list(data),) if all(type(item) is int and 0 <= item < 256 for item in data):
            return bytes(item for item in data if isinstance(item, int))
        case (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
        case _:
            refuse(record)


def sequence(record: Global, args: tuple[object, ...]) -> object:
    """``torch.Size`` and TorchScript's typed lists: what they are given."""
    match args:
        case (list() | tuple() as items,):
            return items
        case _:
            raise UnreadableModel(f"pickle calls {escaped(str(record))} with odd arguments")


def tagged(record: Global, args: tuple[object, ...]) -> object:
    """``restore_type_tag(value, type)``: the value."""
    if len(args) != 2:
        raise UnreadableModel(f"pickle calls {escaped(str(record))} with odd arguments")
    return args[0]


def reconstruct(record: Global, args: tuple[object, ...]) -> object:
    """``copyreg._reconstructor(cls, base, state)`` and ``__newobj__(cls, *args)``: an instance."""
    if not args:
        raise UnreadableModel(f"pickle calls {escaped(str(record))} with odd arguments")
    made = instance(args[0], args[1:] if record.name == "__newobj__" else ())
    if record.name == "_reconstructor" and len(args) == 3 and args[2] is not None:
        made.items = [args[2]]
    return made


FOLDED: Final[dict[str, Callable[[Global, tuple[object, ...]], object]]] = {
    "_codecs.encode": encode,
    "builtins.bytes": make_bytes,
    "builtins.bytearray": make_bytes,
    "copyreg._reconstructor": reconstruct,
    "copyreg.__newobj__": reconstruct,
    "torch.Size": sequence,
    "torch.jit._pickle.build_boollist": sequence,
    "torch.jit._pickle.build_doublelist": sequence,
    "torch.jit._pickle.build_intlist": sequence,
    "torch.jit._pickle.build_tensorlist": sequence,
    "torch.jit._pickle.restore_type_tag": tagged,
}
