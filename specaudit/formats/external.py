"""ONNX external data: tensors kept in files beside the model, which the model names.

Reference: onnx, "External Data" (docs/ExternalData.md). The rules here are stricter where
the runtimes disagree: a key may come once, a number is ASCII digits, the length must be
what the shape says.
"""

import hashlib
from dataclasses import dataclass, field
from typing import NoReturn

from specaudit.errors import UnreadableModel
from specaudit.formats.files import BLOCK, ModelFile, contained, shown
from specaudit.formats.onnx_schema import StringStringEntryProto

KEYS = {"location", "offset", "length", "checksum"}
DIGITS = set("0123456789")


@dataclass(slots=True)
class ExternalData:
    """The files beside one model, each opened, pinned and judged once.

    Parameters
    ----------
    model : ModelFile
    notes : list of str
        Oddities found so far: links, keys nobody defined.
    missing : list of (str, str)
        What could not be confirmed.
    """

    model: ModelFile
    notes: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    _files: dict[str, ModelFile] = field(default_factory=dict)
    _sums: dict[str, str] = field(default_factory=dict)
    _odd: set[str] = field(default_factory=set)

    def find(
        self, entries: list[StringStringEntryProto], size: int, where: str
    ) -> tuple[ModelFile, int]:
        """The file and the offset of a tensor's `size` bytes.

        Raises
        ------
        UnreadableModel
            A key is contradictory, the location leads out of the model's folder, or the
            file does not hold those bytes.
        """
        keys = self._keys(entries, where)
        location = keys.get("location")
        if location is None:
            _refuse("external data without a location", where)
        file = self._file(location, where)
        offset = _number(keys, "offset", where) or 0
        length = _number(keys, "length", where)
        if length is not None and length != size:
            _refuse(f"external data of {length} bytes where its shape takes {size}", where)
        if offset + size > file.size:
            _refuse(f"data file {shown(location)} is too short", where)
        if "checksum" in keys:
            self._check(location, keys["checksum"])
        return file, offset

    def _keys(self, entries: list[StringStringEntryProto], where: str) -> dict[str, str]:
        keys: dict[str, str] = {}
        for entry in entries:
            key = entry.key or ""
            if key in keys:
                _refuse(f"external data give {shown(key)} twice", where)
            keys[key] = entry.value or ""
            if key in KEYS or key in self._odd:
                continue
            self._odd.add(key)
            if key.startswith("prepacked_"):  # onnxruntime's own, beside the data proper
                self.notes.append("external data hold onnxruntime's prepacked copies, not read")
            else:
                self.missing.append(("external data", f"key {shown(key)} is not known"))
        return keys

    def _file(self, location: str, where: str) -> ModelFile:
        if location in self._files:
            return self._files[location]
        file = ModelFile.at(contained(self.model.path, location, where=where))
        if file.same_file(self.model):
            _refuse("external data name the model file itself", where)
        if file.links > 1:
            reason = f"the data file has {file.links} names: it may be one outside this folder"
            self.missing.append((shown(location)[1:-1], reason))
        self._files[location] = file
        return file

    def _check(self, location: str, expected: str) -> None:
        if location not in self._sums:
            self._sums[location] = _sha1(self._files[location])
            if self._sums[location] != expected.lower():
                self.missing.append((location, "SHA-1 checksum does not match the data"))


def _number(keys: dict[str, str], key: str, where: str) -> int | None:
    text = keys.get(key)
    if text is None:
        return None
    # int() would take "1_6", " 16", "-0" and Arabic digits, which other readers refuse.
    if not text or len(text) > 20 or not set(text) <= DIGITS:
        _refuse(f"external data {key} {shown(text)} is not a number", where)
    return int(text)


def _sha1(file: ModelFile) -> str:
    hasher = hashlib.sha1(usedforsecurity=False)
    with file.open() as stream:
        while block := stream.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def _refuse(reason: str, where: str) -> NoReturn:
    raise UnreadableModel(reason, where=where)
