"""CRC-32 of either library is CRC-32, and the slower one serves where the other is absent."""

import importlib
import sys
import zlib

import pytest

from specaudit.formats import checksums


@pytest.mark.parametrize("is_absent", [False, True])
def test_crc32_is_that_of_the_zip_format(is_absent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_absent:
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    crc32 = importlib.reload(checksums).crc32
    assert (crc32 is zlib.crc32) == is_absent
    assert crc32(b"123456789") == 0xCBF43926  # the check value of every catalogue of CRCs
    assert crc32(b"789", crc32(b"123456")) == 0xCBF43926
    monkeypatch.undo()
    importlib.reload(checksums)
