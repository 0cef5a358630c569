"""Reading a 90 MB checkpoint, every tensor of it, beside `torch.load`; imports excluded.

    python -m benchmarks.reading [--repeat N]

`specaudit` also proves the checksum of every member of the archive and takes the SHA-256 of
the file, which `torch.load` does not; the second line leaves the SHA-256 out, as for a shard.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.checkpoint import transformer
from benchmarks.norms import machine, race
from specaudit.formats import load, pytorch
from specaudit.model import Model

ASKED = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "transformer.pt"))
        torch.save(transformer(), path)
        size = Path(path).stat().st_size / 1e6
        print(f"| {size:.0f} MB | beside torch.load | asked |\n| --- | --- | --- |")
        for label, reader in (("with SHA-256", load), ("without", pytorch.load_shard)):
            theirs, ours = race(
                lambda: torch.load(path, weights_only=True),
                lambda reader=reader: everything(reader(path)),
                repeat=repeat,
            )
            print(f"| {label} | {ours / theirs:.1f}x the time | {ASKED}x |")


def everything(model: Model) -> list[object]:
    return [weight.read() for weight in model.weights]


if __name__ == "__main__":
    main()
