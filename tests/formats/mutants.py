"""Damaged copies of good files, by seed: bits flipped, parts cut, doubled, zeroed, swapped."""

from collections.abc import Iterator

import numpy as np


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged copies of `content`."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            if not data:
                break
            at = int(rng.integers(len(data)))
            size = int(rng.integers(1, 33))
            match int(rng.integers(6)):
                case 0:
                    data[at] ^= 1 << int(rng.integers(8))
                case 1:
                    data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, ord("{"), ord('"')]))
                case 2:
                    del data[at : at + size]
                case 3:
                    data[at:at] = data[at : at + size]
                case 4:
                    data[at : at + size] = bytes(min(size, len(data) - at))
                case _:
                    data[at : at + size] = rng.bytes(min(size, len(data) - at))
        yield bytes(data)
