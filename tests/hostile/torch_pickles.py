"""Pickles of checkpoints that are damaged, endless, or lie about their tensors."""

import struct

from tests.hostile.cases import Collection
from tests.hostile.pickling import (
    NO_HOOKS,
    call,
    dict_of,
    list_of,
    mention,
    number,
    numbers,
    program,
    storage,
    tensor,
    text,
    tuple_of,
)
from tests.hostile.safetensors_files import DIAGONAL
from tests.hostile.torch_files import W, adder, legacy, zipped
from tests.hostile.zipping import archive, checkpoint

CASES = Collection()
file_case = adder(CASES)


def only(record: bytes) -> bytes:
    """A checkpoint of this one tensor."""
    return zipped(dict_of(w=record))


def raw(stream: bytes) -> bytes:
    """A checkpoint whose pickle is this stream."""
    return archive(checkpoint(stream))


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + W + closing * depth


def kept(body: bytes, slot: int) -> bytes:
    return body + b"q" + bytes([slot])


LAUGHS = kept(list_of(W), 0) + b"".join(
    b"0" + kept(list_of(*[b"h" + bytes([i])] * 10), i + 1) for i in range(12)
)
BARREN = kept(list_of(number(1)), 0) + b"".join(
    b"0" + kept(list_of(*[b"h" + bytes([i])] * 10), i + 1) for i in range(40)
)
HASHES = kept(b")", 0) + b"".join(b"0" + kept(b"(h%ch%ct" % (i, i), i + 1) for i in range(40))
CYCLE = b"]q\x00(h\x00" + W + b"e"
TWO_TYPES = list_of(W, tensor(storage("IntStorage")))
META = call(
    "torch._utils",
    "_rebuild_meta_tensor_no_storage",
    mention("torch", "float32"),
    numbers((4, 4)),
    numbers((4, 1)),
    b"\x89",
)
META_HUGE = call(
    "torch._utils",
    "_rebuild_meta_tensor_no_storage",
    mention("torch", "float32"),
    numbers((1 << 40, 4)),
    numbers((4, 1)),
    b"\x89",
)
INDICES = tensor(storage("LongStorage", "1", 4), 0, (2, 2), (2, 1))
ENTRIES = tensor(storage(count=16), 0, (2,), (5,))


def sparse(indices: tuple[int, ...], shape: tuple[int, ...]) -> bytes:
    """The entries 3 and 2 of the diagonal at these places."""
    layout = call("torch.serialization", "_get_layout", text("torch.sparse_coo"))
    data = tuple_of(INDICES, ENTRIES, numbers(shape), b"\x89")
    body = dict_of(w=call("torch._utils", "_rebuild_sparse_tensor", layout, data))
    stored = {"0": DIAGONAL, "1": struct.pack("<4q", *indices)}
    return archive(checkpoint(program(body), stored))


def quantised(scheme: str, *parameters: bytes, shape: tuple[int, ...] = (4, 4)) -> bytes:
    laid = (storage("QInt8Storage"), number(0), numbers(shape), numbers((4, 1)))
    given = tuple_of(mention("torch", scheme), *parameters)
    return only(call("torch._utils", "_rebuild_qtensor", *laid, given, b"\x89", NO_HOOKS))


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


for label, outcomes, content in [
    ("hash_bomb", "EO", zipped(b"}(" + HASHES + W + b"u")),
    ("billion_laughs", "E", zipped(LAUGHS)),
    ("deep_list", "E", zipped(nested(b"](", b"e", 5000))),
    ("deep_dict", "E", zipped(nested(b"}(K\x01", b"u", 5000))),
    ("deep_tuple", "E", zipped(W + b"\x85" * 100_000)),
    ("stride0_bomb", "E", only(tensor(shape=(1 << 20, 1 << 20), strides=(0, 0)))),
    ("stride0_bomb_mild", "E", only(tensor(shape=(1 << 14, 1 << 14), strides=(0, 0)))),
    ("size_overflow", "E", only(tensor(shape=(1 << 62, 1 << 62)))),
    ("size_wraps", "E", only(tensor(shape=(1 << 32, 1 << 32), strides=(0, 0)))),
    ("size_oob", "E", only(tensor(shape=(5, 4)))),
    ("size_neg", "E", only(tensor(shape=(-4, 4)))),
    ("empty_but_huge", "E", only(tensor(shape=(0, 1 << 62), strides=(1, 1)))),
    ("offset_oob", "E", only(tensor(offset=1))),
    ("offset_neg", "E", only(tensor(offset=-1))),
    ("stride_neg", "E", only(tensor(strides=(-4, 1)))),
    ("stride_huge", "E", only(tensor(strides=(1 << 61, 1)))),
    ("rank_mismatch", "E", only(tensor(strides=(4, 1, 1)))),
    ("rank_65", "E", only(tensor(shape=(1,) * 65, strides=(1,) * 65))),
    ("numel_huge", "E", only(tensor(storage(count=1 << 50)))),
    ("numel_neg", "E", only(tensor(storage(count=-16)))),
    ("dtype_swap", "E", zipped(TWO_TYPES)),
    ("dtype_wider", "E", only(tensor(storage("DoubleStorage")))),
    ("storage_unknown", "E", only(tensor(storage("OddStorage")))),
    ("meta", "EG", only(META)),
    ("meta_no_storage", "E", zipped(dict_of(w=W, m=META_HUGE))),
    ("meta_location", "EG", only(tensor(storage(location="meta")))),
    (
        "qtensor_alloc",
        "E",
        quantised("per_tensor_affine", real(0.1), number(0), shape=(1 << 20, 1 << 20)),
    ),
    (
        "qtensor_axis",
        "E",
        quantised("per_channel_affine", list_of(real(1)), list_of(number(0)), number(9)),
    ),
    (
        "qtensor_scales",
        "E",
        quantised("per_channel_affine", list_of(real(1)), list_of(number(0)), number(0)),
    ),
    ("qtensor_nan", "E", quantised("per_tensor_affine", real(float("nan")), number(0))),
    ("sparse_oob", "E", sparse((0, 4, 0, 1), (4, 4))),
    ("sparse_neg", "E", sparse((0, -1, 0, 1), (4, 4))),
    ("sparse_huge", "E", sparse((0, 1, 0, 1), (1 << 20, 1 << 20))),
    ("memo_missing", "E", raw(b"\x80\x02h\x05.")),
    ("stack_underflow", "E", raw(b"\x80\x02R.")),
    ("no_stop", "E", raw(b"\x80\x02}")),
    ("empty_pkl", "E", raw(b"")),
    ("mark_missing", "E", raw(b"\x80\x02K\x01u.")),
    ("mark_left", "E", raw(b"\x80\x02((}.")),
    ("long_string_lie", "E", raw(b"\x80\x02X\xff\xff\xff\x7fabc.")),
    ("bytes_lie", "E", raw(b"\x80\x05\x96" + b"\xff" * 8 + b"abc.")),
    ("frame_lie", "E", raw(b"\x80\x04\x95" + b"\xff" * 8 + b"}.")),
    ("proto_255", "E", raw(b"\x80\xff}.")),
    ("opcode_unknown", "E", raw(b"\x80\x02\xff.")),
    ("append_to_tuple", "E", raw(b"\x80\x02)K\x01a.")),
    ("setitem_on_tensor", "E", zipped(W + b"K\x01K\x02s")),
    ("state_of_tensor", "E", zipped(W + b"}b")),
    ("odd_items", "E", raw(b"\x80\x02}(K\x01u.")),
    ("name_not_text", "E", raw(b"\x80\x04K\x01K\x02\x93.")),
    ("name_not_utf8", "E", raw(b"\x80\x02c\xff\n\xff\n.")),
    ("int_not_digits", "E", raw(b"Ixyz\n.")),
    ("top_none", "E", raw(b"\x80\x02N.")),
    ("top_int", "E", raw(b"\x80\x02K\x01.")),
    ("top_text", "E", zipped(text("hello"))),
    ("ints_only", "E", zipped(dict_of(a=number(1)))),
    ("no_tensor", "E", zipped(dict_of())),
    ("legacy_numel_huge", "E", legacy(data=struct.pack("<q", 1 << 60) + DIAGONAL)),
    ("legacy_size_lie", "E", legacy(data=struct.pack("<q", 17) + DIAGONAL + bytes(4))),
    ("legacy_uninit", "E", legacy(keys=b"]", data=b"")),
    ("legacy_twice", "E", legacy(keys=list_of(text("0"), text("0")))),
    ("legacy_truncated", "E", legacy()[:-1]),
    ("legacy_protocol", "E", legacy(protocol=7)),
    (
        "legacy_view_meta",
        "E",
        legacy(dict_of(w=tensor(storage(view=tuple_of(text("v"), number(8), number(16)))))),
    ),
]:
    file_case(f"pickle_{label}", outcomes, content)

OLD_PARAMETER = call("torch.nn.parameter", "Parameter", W, b"\x88") + tuple_of(b"NN") + b"b"
BACKEND = call("torch.nn.backends.thnn", "_get_thnn_function_backend")
OLD_STATE = dict_of(
    _backend=BACKEND,
    _parameters=dict_of(w=OLD_PARAMETER),
    _buffers=dict_of(),
    _modules=dict_of(),
)
OLD_MODULE = mention("user", "Net") + b")\x81" + OLD_STATE + b"b"
VIEW = storage(view=tuple_of(text("v"), number(0), number(16)))
for label, content in [
    ("barren_laughs", zipped(dict_of(w=W, x=BARREN))),
    ("cycle_list", zipped(CYCLE)),
    ("cycle_dict", zipped(b"}q\x00(" + text("me") + b"h\x00" + text("w") + W + b"u")),
    ("top_tensor", zipped(W)),
    ("top_list", zipped(list_of(W))),
    ("intkeys", zipped(b"}(K\x01" + W + b"u")),
    ("name_injection", zipped(b"}(" + text("\x1b[31m::error::\n<b>") + W + b"u")),
    ("name_surrogate", zipped(b"}(" + text("\ud800w") + W + b"u")),
    ("name_long", zipped(b"}(" + text("w" * 200_000) + W + b"u")),
    ("dup_key", zipped(b"}(" + text("w") + number(1) + text("w") + W + b"u")),
    ("huge_int", zipped(dict_of(w=W, n=b"L" + b"9" * 5000 + b"L\n"))),
    ("huge_long4", zipped(dict_of(w=W, n=b"\x8b\x00\x10\x00\x00" + b"\x01" * 4096))),
    ("nan_epoch", zipped(dict_of(w=W, epoch=real(float("nan"))))),
    ("loc_cuda", only(tensor(storage(location="cuda:7")))),
    ("loc_evil", only(tensor(storage(location="../../etc")))),
    (
        "namespace",
        zipped(dict_of(w=W, a=call("argparse", "Namespace") + dict_of(lr=real(0.1)) + b"b")),
    ),
    (
        "partial",
        zipped(
            dict_of(
                w=W, p=call("functools", "partial", mention("torch.nn.modules.norm", "LayerNorm"))
            )
        ),
    ),
    ("foreign_enum", zipped(dict_of(w=W, e=call("user.kinds", "Kind", number(2))))),
    ("sparse_coo", sparse((0, 1, 0, 1), (4, 4))),
    ("parameter_of_0_3", zipped(dict_of(w=OLD_PARAMETER))),
    ("module_of_1_1", zipped(OLD_MODULE)),
    ("logger", zipped(dict_of(w=W, log=call("logging", "getLogger", text("net"))))),
    ("legacy_valid", legacy()),
    ("legacy_trailing", legacy() + b"more"),
    ("legacy_view", legacy(dict_of(w=tensor(VIEW)))),
    (
        "legacy_class_with_source",
        legacy(
            dict_of(
                w=tensor(storage(view=b"N")),
                m=tuple_of(
                    text("module"), mention("user", "Net"), text("net.py"), text("class Net")
                )
                + b"Q",
            )
        ),
    ),
]:
    file_case(f"pickle_{label}", "O", content, 3)
