"""CRC-32, which every byte of an archive goes through: at the rate of memory where it can be."""

try:
    from isal.isal_zlib import crc32  # four times zlib's rate
except ImportError:  # no wheel for this processor
    from zlib import crc32

__all__ = ["crc32"]
