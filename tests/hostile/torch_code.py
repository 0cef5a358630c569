"""Code in PyTorch files: every payload would create the canary, wherever it hides."""

from collections.abc import Callable
from pathlib import Path

from tests.hostile.cases import CANARY, Collection
from tests.hostile.pickling import (
    NO_HOOKS,
    call,
    dict_of,
    list_of,
    mention,
    number,
    numbers,
    program,
    text,
    tuple_of,
)
from tests.hostile.torch_files import W, adder, beside, legacy, zipped
from tests.hostile.zipping import Member, archive, checkpoint

CASES = Collection()
file_case = adder(CASES)


def system(folder: Path, module: str = "os", name: str = "system") -> bytes:
    return call(module, name, text(f"touch {folder / CANARY}"))


def execute(folder: Path, module: str = "builtins") -> bytes:
    return call(module, "exec", text(f"open({str(folder / CANARY)!r}, 'w')"))


def chain(folder: Path) -> bytes:
    got = call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
    return got + tuple_of(text(f"touch {folder / CANARY}")) + b"R"


def through_torch(folder: Path) -> bytes:
    """A name that reaches ``os`` through a module of torch."""
    path = text("torch.serialization") + text("os.system") + b"\x93"
    return path + tuple_of(text(f"touch {folder / CANARY}")) + b"R"


def set_state(folder: Path) -> bytes:
    state = dict_of(__setstate__=mention("os", "system"))
    return mention("user", "Net") + b")\x81" + state + b"b" + text("true") + b"b"


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "reduce_exec": execute,
    "reduce_exec_py2": lambda folder: execute(folder, "__builtin__"),
    "reduce_system": system,
    "posix": lambda folder: system(folder, "posix"),
    "subprocess": lambda folder: system(folder, "subprocess", "getoutput"),
    "runpy": lambda folder: call("runpy", "run_path", text(str(folder / CANARY))),
    "collect_env": lambda folder: system(folder, "torch.utils.collect_env", "run"),
    "runstring": lambda folder: system(folder, "numpy.testing._private.utils", "runstring"),
    "hub": lambda folder: system(folder, "torch.hub", "load"),
    "torch_load": lambda folder: call("torch.serialization", "load", text(str(folder))),
    "load_from_bytes": lambda _: call("torch.storage", "_load_from_bytes", b"C\x01x"),
    "dill": lambda folder: system(folder, "dill._dill", "_create_code"),
    "getattr_chain": chain,
    "dotted_through_torch": through_torch,
    "set_state": set_state,
    "state_of_class": lambda _: mention("user", "Net") + dict_of(x=number(1)) + b"b",
    "call_of_call": lambda _: call("user", "make") + b")R",
    "partial": lambda folder: call("functools", "partial", mention("os", "system")),
    "inst": lambda folder: b"(" + text(f"touch {folder / CANARY}") + b"ios\nsystem\n",
    "obj": lambda folder: b"(" + mention("os", "system") + text(f"touch {folder / CANARY}") + b"o",
    "stack_global": lambda folder: (
        text("os")
        + text("path.os.system")
        + b"\x93"
        + tuple_of(text(f"touch {folder / CANARY}"))
        + b"R"
    ),
    "extension": lambda _: b"\x82\x01)R",
    "persistent_text": lambda _: b"Psomething\n",
    "bytearray_8G": lambda _: call("builtins", "bytearray", number(8 << 30)),
    "tensor_constructor": lambda _: call("torch", "FloatTensor", number(8 << 30)),
    "uninitialised": lambda _: call("torch", "FloatStorage", number(4)),
    "uninitialised_new": lambda _: mention("torch", "FloatTensor") + numbers((2, 2)) + b"\x81",
}
for label, payload in PAYLOADS.items():
    file_case(f"pk_{label}", "E", lambda folder, p=payload: beside(p(folder)))
file_case("pk_raw_system", "E", lambda folder: program(system(folder)))
file_case("pk_raw_proto0_inst", "E", lambda folder: b"(S'touch x'\nios\nsystem\n.")
file_case("pk_raw_proto4", "E", lambda folder: program(system(folder), 4))
file_case(
    "pk_broken_after_payload",
    "E",
    lambda folder: archive(checkpoint(b"\x80\x02" + system(folder) + b"\xff\xff")),
)
file_case(
    "pk_second_pickle",
    "E",
    lambda folder: archive(checkpoint(program(dict_of(w=W)) + program(system(folder)))),
)
file_case("pk_legacy_in_magic", "E", lambda folder: legacy(magic=system(folder) + b"0"))
file_case("pk_legacy_in_sysinfo", "E", lambda folder: legacy(system=system(folder) + b"0"))
file_case(
    "pk_legacy_in_keys",
    "E",
    lambda folder: legacy(keys=system(folder) + b"0" + list_of(text("0"))),
)
file_case("pk_legacy_in_top", "E", lambda folder: legacy(system(folder)))
file_case("pk_legacy_tar", "E", b"storages".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"))
file_case(
    "pk_hidden_extra_member",
    "OWE",
    lambda folder: archive([*checkpoint(), Member("archive/x.pkl", program(system(folder)))]),
)
for order, name in ((1, "last"), (0, "first")):

    def doubled(folder: Path, order: int = order) -> bytes:
        evil = Member("archive/data.pkl", program(system(folder)))
        members = checkpoint()
        members.insert(order, evil)
        return archive(members)

    file_case(f"pk_dup_datapkl_evil_{name}", "E", doubled)


@CASES.add("E")
def pk_named_safetensors(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(beside(system(folder)))
    return path


MODULE = dict_of(
    training=b"\x88",
    _parameters=dict_of(weight=call("torch._utils", "_rebuild_parameter", W, b"\x88", NO_HOOKS)),
    _buffers=dict_of(),
    _modules=dict_of(),
)
file_case(
    "pk_full_module_benign", "O", zipped(mention("user.nets", "Net") + b")\x81" + MODULE + b"b"), 3
)
SCRIPTED = mention("__torch__", "Net") + b")\x81" + dict_of(training=b"\x89", weight=W) + b"b"
CODE = b"""class Net(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  def __setstate__(self: __torch__.Net, state: Tensor) -> NoneType:
    _0 = torch.from_file("canary", True, 4)
    return None
"""
file_case(
    "ts_setstate_from_file",
    "O",
    archive(
        [
            *checkpoint(program(SCRIPTED)),
            Member("archive/code/__torch__.py", CODE, deflate=True),
            Member("archive/constants.pkl", program(b")")),
        ]
    ),
    3,
)
