"""``.pt2`` archives of ``torch.export``: their weights; torch's own loader would run their pickles.

Since torch 2.8 the weights are raw bytes beside a JSON file that lays them out; before, they
were checkpoints within the archive. The program itself is not read here.
"""

from typing import Final

from specaudit import limits
from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.background import in_background
from specaudit.formats.checkpoints import Contents, byte_order, check_records, door, read_zip
from specaudit.formats.containers import Role
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.regions import Region
from specaudit.formats.safetensors import parse_json
from specaudit.formats.strided import ITEM_SIZES, Strided
from specaudit.formats.torch_tensors import Missing, naturals
from specaudit.formats.zips import MAGICS, Archive, read_archive
from specaudit.model import Model

STRIDED: Final = 7
SCALAR_TYPES: Final = {  # torch._export.serde.schema.ScalarType
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}


def load(path: str) -> Model:
    """Read the weights and constants of an exported program.

    Raises
    ------
    UsageError
        There is no such file.
    UnreadableModel
        The file is damaged or hostile, or holds no tensor.
    UnsupportedModel
        It is an archive of another kind.
    """
    with door(path):
        file = ModelFile.at(path)
        if not file.size:
            raise UnreadableModel("empty file", where=path)
        hashed = in_background(file.digest)
        archive = read_archive(file)
        verified = in_background(archive.verify)
        contents = Contents(path)
        read_program(archive, contents)
        verified()
        return contents.model("pt2", hashed, archive)


def read_program(archive: Archive, contents: Contents) -> None:
    """Add the weights of either layout to `contents`."""
    old = [name for name in OLD_MEMBERS if name in archive.members]
    if old:
        for name in old:
            read_zip(archive.nested(name), contents, scope=f"{name}/")
        return
    root = archive.root()
    if f"{root}archive_format" not in archive.members:
        raise UnsupportedModel("a zip archive that torch.export did not write")
    check_records(archive, root)
    found = [entry for folder in FOLDERS for entry in configurations(archive, root, folder)]
    prefixed = len({model for _, model, _ in found}) > 1
    for folder, model, name in found:
        prefix = f"{model}." if prefixed else ""
        if name.endswith(".pt"):  # torch 2.8 nightlies
            read_zip(
                archive.nested(name), contents, scope=f"{name}/", prefix=model if prefixed else ""
            )
        else:
            read_payloads(archive, root, folder, name, prefix, contents)


OLD_MEMBERS = (
    "serialized_state_dict.pt",
    "serialized_state_dict.json",
    "serialized_constants.pt",
    "serialized_constants.json",
)
FOLDERS = ("data/weights/", "data/constants/")


def configurations(archive: Archive, root: str, folder: str) -> list[tuple[str, str, str]]:
    """The folder, the program's name and the member, for each description of weights in it."""
    kind = folder.split("/")[1]
    return [
        (folder, name[len(root + folder) : -len(ending)], name)
        for name in archive.members
        for ending in (f"_{kind}_config.json", ".pt")
        if name.startswith(root + folder) and name.endswith(ending)
    ]


def read_payloads(
    archive: Archive, root: str, folder: str, name: str, prefix: str, contents: Contents
) -> None:
    """Add the tensors that one JSON file lays out over the members of its folder."""
    payloads = parse_json(archive.read(name, limits.scaled(limits.JSON_BYTES)), contents.path).get(
        "config"
    )
    if not isinstance(payloads, dict):
        raise UnreadableModel(f"{shown(name)} has no config")
    big_endian = byte_order(archive, root) == b"big"
    for tensor, payload in payloads.items():
        with door(f"{contents.path} › {shown(tensor)[1:-1]}"):
            region = member_of(archive, root + folder, payload)
            if payload.get("use_pickle") is not False:
                read_pickled(archive, region, prefix + tensor, contents)
                continue
            values = lay_out(region, payload.get("tensor_meta"), big_endian=big_endian)
            parameter = payload.get("is_param") is True
            role: Role = "parameter" if parameter else "buffer"
            contents.add(prefix + tensor, values, role, root=root)


def member_of(archive: Archive, folder: str, payload: dict[str, object]) -> Region:
    """The member that holds a payload; it lies in the same folder as its description."""
    name = payload.get("path_name") if isinstance(payload, dict) else None
    if (
        not isinstance(name, str)
        or "/" in name
        or "\\" in name
        or folder + name not in archive.members
    ):
        raise UnreadableModel(f"its data {shown(str(name))} is not in the archive")
    return archive.members[folder + name]


def read_pickled(archive: Archive, region: Region, name: str, contents: Contents) -> None:
    """Add what a payload that torch would unpickle holds, if it is a checkpoint."""
    if region.deflated or not region.file.read(region.offset, min(4, region.size)).startswith(
        MAGICS
    ):
        if region.name.rpartition("/")[2].startswith("weight_"):
            raise UnreadableModel("refused: a weight that is a bare pickle")
        contents.missing.append((name, "a pickled object, not a tensor; it is not read"))
        return
    read_zip(archive.nested(region.name), contents, scope=f"{region.name}/", prefix=name)


def lay_out(region: Region, layout: object, *, big_endian: bool) -> Strided | Missing:
    """The tensor that a ``TensorMeta`` lays over a member."""
    if not isinstance(layout, dict):
        raise UnreadableModel("a tensor without its layout")
    code = layout.get("dtype")
    dtype = SCALAR_TYPES.get(code if type(code) is int else 0, "")
    if dtype not in ITEM_SIZES or layout.get("layout") != STRIDED:
        return Missing(f"type {code} in layout {layout.get('layout')} is not read")
    shape = naturals(numbers(layout.get("sizes")), "sizes")
    strides = naturals(numbers(layout.get("strides")), "strides")
    (offset,) = naturals(numbers([layout.get("storage_offset")]), "offset")
    if not region.size and 0 not in shape:
        return Missing("the archive holds no data for it")
    return Strided(region, dtype, shape, strides, offset, big_endian).check()


def numbers(entries: object) -> list[object]:
    """The numbers of ``[{"as_int": n}, …]``; anything else becomes None."""
    given = entries if isinstance(entries, list) else [None]
    return [entry.get("as_int") if isinstance(entry, dict) else None for entry in given]
