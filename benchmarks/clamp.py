"""`specaudit clamp` beside `specaudit inspect` and `cp`, on a transformer and on convolutions.

    python -m benchmarks.clamp [--repeat N]

Asked: at most twice an inspect plus one copy of the file.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from benchmarks.checkpoint import run, transformer
from benchmarks.norms import machine, race

ASKED = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    print("| file | inspect | copy | clamp | of 2 x inspect + copy |\n|---|---|---|---|---|")
    for name, state in (("transformer, 90 MB", transformer()), ("VGG, 37 MB", convolutions())):
        with tempfile.TemporaryDirectory() as folder:
            source, target = str(Path(folder, "in.pt")), str(Path(folder, "out.pt"))
            torch.save(state, source)
            rewrite = ("clamp", source, "--max", "1", "-o", target, "--force", "-f", "json")
            inspect, copy, clamp = race(
                lambda source=source: run("-m", "specaudit", "inspect", source, "-f", "json"),
                lambda source=source, target=target: shutil.copyfile(source, target),
                lambda rewrite=rewrite: run("-m", "specaudit", *rewrite),
                repeat=arguments.repeat,
            )
        share = clamp / (ASKED * inspect + copy)
        print(f"| {name} | {inspect:.2f} s | {copy:.2f} s | {clamp:.2f} s | {share:.2f} |")


def convolutions(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the state dict of a VGG's convolutions, float32."""
    generator = torch.Generator().manual_seed(seed)
    widths = (3, 64, 64, 128, 128, 256, 256, 512, 512)
    return {
        f"features.{index}.weight": torch.randn(after, before, 3, 3, generator=generator)
        * (2.0 / (9 * before)) ** 0.5
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
    }


if __name__ == "__main__":
    main()
