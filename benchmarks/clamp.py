"""`specaudit clamp` beside `specaudit inspect` and `cp`, on a transformer and on convolutions.

    python -m benchmarks.clamp [--repeat N]

Asked: at most twice an inspect plus one copy of the file. The norm of a convolution is shown
to 1 %; a float32 kernel is clamped to a few millionths, and pays for the digits in between.
"""

import argparse
import shutil
import tempfile
from itertools import pairwise
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
    print("| file | inspect | at 3e-6 | copy | clamp | of 2 x inspect + copy |")
    print("|---|---|---|---|---|---|")
    kernels = convolutions()
    files = {
        "transformer, 90 MB": transformer(),
        "kernels, float32": kernels,
        "kernels, float16": {name: kernel.half() for name, kernel in kernels.items()},
    }
    for name, state in files.items():
        with tempfile.TemporaryDirectory() as folder:
            source, target = str(Path(folder, "in.pt")), str(Path(folder, "out.pt"))
            torch.save(state, source)
            times = race(
                lambda source=source: specaudit("inspect", source),
                lambda source=source: specaudit("inspect", source, "--rtol", "3e-6"),
                lambda source=source, target=target: shutil.copyfile(source, target),
                lambda source=source, target=target: specaudit(
                    "clamp", source, "--max", "1", "-o", target, "--force"
                ),
                repeat=arguments.repeat,
            )
        share = times[3] / (ASKED * times[0] + times[2])
        print(f"| {name} | {' | '.join(f'{time:.2f} s' for time in times)} | {share:.2f} |")


def specaudit(*arguments: str) -> None:
    run("-m", "specaudit", *arguments, "--format", "json")


def convolutions(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the state dict of the first convolutions of a VGG, float32."""
    generator = torch.Generator().manual_seed(seed)
    widths = (3, 64, 64, 128, 128)
    return {
        f"features.{index}.weight": torch.randn(after, before, 3, 3, generator=generator)
        * (2.0 / (9 * before)) ** 0.5
        for index, (before, after) in enumerate(pairwise(widths))
    }


if __name__ == "__main__":
    main()
