"""Zip containers of checkpoints that readers disagree about, or that grow when read."""

import struct

from tests.hostile.cases import Collection
from tests.hostile.pickling import dict_of, program, storage, tensor
from tests.hostile.safetensors_files import DIAGONAL
from tests.hostile.torch_files import adder
from tests.hostile.zipping import Member, altered, archive, checkpoint

CASES = Collection()
file_case = adder(CASES)
GOOD = archive(checkpoint())
BIG = struct.pack(">16f", *struct.unpack("<16f", DIAGONAL))
WIDE = struct.pack("<2H2Q", 1, 16, 1 << 40, 1 << 40)
BOMB = program(dict_of(w=tensor(storage(count=64 << 20), 0, (1 << 13, 1 << 13), (1 << 13, 1))))
SHARED = archive(checkpoint()[:2])  # header of the first storage begins behind data.pkl's
STORAGE_AT = SHARED.index(b"PK\x03\x04", 1)


def with_data(name: str = "data/0", **changes: object) -> bytes:
    return archive(altered(checkpoint(), name, **changes))


def without(name: str) -> bytes:
    return archive([m for m in checkpoint() if m.name != f"archive/{name}"])


def plus(*members: Member) -> bytes:
    return archive([*checkpoint(), *members])


for label, outcomes, content in [
    (
        "bomb_deflate_256M",
        "E",
        lambda _: archive(
            altered(checkpoint(BOMB, {"0": bytes(256 << 20)}), "data/0", deflate=True)
        ),
    ),
    (
        "bomb_datapkl",
        "E",
        lambda _: archive(
            altered(checkpoint(b"\x80\x02" + b"N" * (120 << 20)), "data.pkl", deflate=True)
        ),
    ),
    ("bomb_opcodes", "E", lambda _: archive(checkpoint(b"\x80\x02" + b"N" * 11_000_000 + b"."))),
    ("bomb_memo", "E", lambda _: archive(checkpoint(b"\x80\x02N" + b"\x94" * 5_000_000 + b"."))),
    ("bomb_marks", "E", lambda _: archive(checkpoint(b"\x80\x02" + b"(" * 5_000_000 + b"."))),
    (
        "overlap",
        "E",
        plus(Member("archive/data/1", DIAGONAL, header=STORAGE_AT, local_name="archive/data/0")),
    ),
    ("bad_crc_storage", "E", with_data(crc=1)),
    ("bad_crc_datapkl", "E", with_data("data.pkl", crc=1)),
    ("flag_encrypted", "E", with_data(flags=0x809)),
    ("flag_patch", "E", with_data(flags=0x828)),
    ("flag_strong", "E", with_data(flags=0x848)),
    ("method_12", "E", with_data(method=12)),
    ("local_name_differs", "E", with_data(local_name="archive/data/1")),
    ("cd_points_elsewhere", "E", with_data("version", header=STORAGE_AT)),
    ("dup_storage", "E", plus(Member("archive/data/0", bytes(64)))),
    ("dup_by_case", "E", plus(Member("archive/Data/0", bytes(64)))),
    ("two_roots", "E", plus(Member("other/data/0", bytes(64)))),
    ("concatenated_raw", "E", GOOD + GOOD),
    ("prefix_junk", "E", b"junk" + GOOD),
    ("trailing_junk", "E", GOOD + b"junk"),
    ("comment", "E", archive(checkpoint(), comment=b"hello")),
    ("fake_eocd_in_comment", "E", archive(checkpoint(), comment=GOOD[-22:])),
    ("dotdot_member", "E", plus(Member("archive/../../x", b"x"))),
    ("absolute_member", "E", plus(Member("/archive/x", b"x"))),
    ("size_lie_1TB", "E", with_data(size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=WIDE)),
    ("size_lie_2G", "E", with_data("data.pkl", size=2 << 30, stored_size=2 << 30)),
    ("size_lie_deflated", "E", with_data(deflate=True, size=65)),
    ("size_lie_deflated_short", "E", with_data(deflate=True, size=63)),
    ("saturated_without_wide", "E", with_data(size=0xFFFFFFFF, stored_size=0xFFFFFFFF)),
    ("cdoff_beyond_eof", "E", archive(checkpoint(), where=1 << 40)),
    ("count_lie_more", "E", archive(checkpoint(), count=9)),
    ("count_lie_fewer", "E", archive(checkpoint(), count=2)),
    ("count_lie_huge", "E", archive(checkpoint(), count=60_000)),
    ("record_shorter", "E", archive(checkpoint(storages={"0": DIAGONAL[:-4]}))),
    ("record_longer", "W", archive(checkpoint(storages={"0": DIAGONAL + bytes(4)}))),
    ("record_missing", "E", without("data/0")),
    ("no_datapkl", "E", without("data.pkl")),
    ("empty_archive", "E", archive([], zip64=False)),
    ("empty_archive_zip64", "E", archive([])),
    ("byteorder_junk", "E", archive(checkpoint(byteorder=b"middle"))),
    ("version_junk", "E", archive(checkpoint(version=b"three"))),
    ("alignment_junk", "E", archive(checkpoint(storage_alignment=b"x"))),
    ("format_version_poison", "E", archive(checkpoint(format_version=b"9" * 60))),
    (
        "key_traversal",
        "E",
        archive(checkpoint(program(dict_of(w=tensor(storage(key="../version")))))),
    ),
]:
    file_case(f"zip_{label}", outcomes, content)

for label, content in [
    ("valid", GOOD),
    ("valid_without_zip64", archive(checkpoint(), zip64=False)),
    ("deflated_valid", archive([Member(m.name, m.data, deflate=True) for m in checkpoint()])),
    ("crc_all_zero", archive([Member(m.name, m.data, crc=0) for m in checkpoint()])),
    ("byteorder_big", archive(checkpoint(storages={"0": BIG}, byteorder=b"big"))),
    ("symlink_member", plus(Member("archive/link", b"/etc/passwd", attributes=0xA1FF << 16))),
    ("9000_entries", plus(*(Member(f"archive/extra/{i}", b"x") for i in range(9000)))),
    ("folder_entry", plus(Member("archive/extra/", b""))),
]:
    file_case(f"zip_{label}", "O", content, 3)
