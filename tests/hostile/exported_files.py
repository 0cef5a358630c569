"""``.pt2`` archives as nobody should write them."""

import json

from tests.hostile.cases import Collection
from tests.hostile.pickling import program
from tests.hostile.safetensors_files import DIAGONAL
from tests.hostile.torch_code import system
from tests.hostile.torch_files import W, adder, beside, zipped
from tests.hostile.zipping import Member, archive

CASES = Collection()
file_case = adder(CASES)


def pt2(payload: object, *, config: bytes | None = None, weight: bytes = DIAGONAL) -> bytes:
    """An exported program of one weight."""
    text = json.dumps({"config": {"w": payload}}).encode() if config is None else config
    return archive(
        [
            Member("m/archive_format", b"pt2"),
            Member("m/data/weights/model_weights_config.json", text),
            Member("m/data/weights/weight_0", weight),
        ]
    )


def laid(**changes: object) -> dict[str, object]:
    layout: dict[str, object] = {
        "dtype": 7,
        "sizes": [{"as_int": 4}, {"as_int": 4}],
        "strides": [{"as_int": 4}, {"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "layout": 7,
        "requires_grad": True,
        "device": {"type": "cpu", "index": None},
    }
    return {
        "path_name": "weight_0",
        "is_param": True,
        "use_pickle": False,
        "tensor_meta": layout | changes,
    }


HUGE = [{"as_int": 1 << 40}, {"as_int": 1 << 40}]
for label, outcomes, content in [
    ("valid", "O", pt2(laid())),
    ("path_traversal", "E", pt2(laid() | {"path_name": "../../../etc/passwd"})),
    ("path_missing", "E", pt2(laid() | {"path_name": "weight_9"})),
    ("path_number", "E", pt2(laid() | {"path_name": 0})),
    ("sizes_overflow", "E", pt2(laid(sizes=HUGE))),
    ("stride_oob", "E", pt2(laid(strides=[{"as_int": 1000}, {"as_int": 1}]))),
    ("stride_neg", "E", pt2(laid(strides=[{"as_int": -4}, {"as_int": 1}]))),
    ("offset_oob", "E", pt2(laid(storage_offset={"as_int": 1 << 62}))),
    ("sizes_symbolic", "E", pt2(laid(sizes=[{"as_expr": {"expr_str": "s0"}}, {"as_int": 4}]))),
    ("stride0_bomb", "E", pt2(laid(sizes=HUGE, strides=[{"as_int": 0}, {"as_int": 0}]))),
    ("dtype_unknown", "E", pt2(laid(dtype=99))),
    ("no_layout", "E", pt2(laid() | {"tensor_meta": None})),
    ("short", "E", pt2(laid(), weight=DIAGONAL[:-1])),
    ("not_json", "E", pt2(laid(), config=b"{")),
    ("dup_keys", "E", pt2(laid(), config=b'{"config": {}, "config": {}}')),
    ("nan", "E", pt2(laid(), config=b'{"config": NaN}')),
    ("deep", "E", pt2(laid(), config=b"[" * 100_000)),
    ("payload_list", "E", pt2([])),
]:
    file_case(f"pt2_{label}", outcomes, content, 3 if outcomes == "O" else None)
file_case(
    "pt2_weight_use_pickle",
    "E",
    lambda folder: pt2(laid() | {"use_pickle": True}, weight=program(system(folder))),
)
file_case(
    "pt2_weight_use_zip_pickle",
    "E",
    lambda folder: pt2(laid() | {"use_pickle": True}, weight=beside(system(folder))),
)
file_case("pt2_weight_pickled_benign", "O", pt2(laid() | {"use_pickle": True}, weight=zipped(W)), 3)
file_case(
    "pt2_sample_inputs",
    "O",
    lambda folder: archive(
        [
            Member("m/archive_format", b"pt2"),
            Member(
                "m/data/weights/model_weights_config.json",
                json.dumps({"config": {"w": laid()}}).encode(),
            ),
            Member("m/data/weights/weight_0", DIAGONAL),
            Member("m/data/sample_inputs/model.pt", beside(system(folder))),
        ]
    ),
    3,
)
