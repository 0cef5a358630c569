"""`specaudit clamp` beside `specaudit inspect` and `cp`, on a transformer, convolutions, shards.

    python -m benchmarks.clamp [--repeat N]

Asked: at most twice an inspect plus one copy of the file. The norm of a convolution is shown
to 1 %; a float32 kernel is clamped to a few millionths, and pays for the digits in between.
"""

import argparse
import json
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.checkpoint import run, transformer
from benchmarks.norms import machine, race

ASKED = 2.0
FILES = {
    "transformer.pt": "transformer, 90 MB",
    "kernels.pt": "kernels, float32",
    "halves.pt": "kernels, float16",
    "shards": "sharded set, 1 GB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    print("| file | inspect | at 3e-6 | copy | clamp | of 2 x inspect + copy |")
    print("|---|---|---|---|---|---|")
    kernels = convolutions()
    halves = {name: kernel.half() for name, kernel in kernels.items()}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        torch.save(transformer(), where / "transformer.pt")
        torch.save(kernels, where / "kernels.pt")
        torch.save(halves, where / "halves.pt")
        shards(where / "shards")
        for name, title in FILES.items():
            source, target = str(where / name), str(where / f"out-{name}")
            times = race(
                lambda source=source: specaudit("inspect", source),
                lambda source=source: specaudit("inspect", source, "--rtol", "3e-6"),
                lambda source=source, target=target: copy(source, target),
                lambda source=source, target=target: specaudit(
                    "clamp", source, "--max", "1", "-o", target, "--force"
                ),
                repeat=arguments.repeat,
            )
            share = times[3] / (ASKED * times[0] + times[2])
            print(f"| {title} | {' | '.join(f'{time:.2f} s' for time in times)} | {share:.2f} |")


def copy(source: str, target: str) -> None:
    if Path(source).is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def specaudit(*arguments: str) -> None:
    run("-m", "specaudit", *arguments, "--format", "json")


def shards(folder: Path, layers: int = 27, width: int = 768, seed: int = 0) -> None:
    """Write 1 GB of float32 matrices of a decoder, a shard for every nine layers."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    square, wide = (width, width), (4 * width, width)
    shapes = {"q": square, "k": square, "v": square, "o": square, "gate": wide, "up": wide}
    shapes["down"] = wide[::-1]
    places = {}
    for first in range(0, layers, 9):
        shard = {
            f"layers.{layer}.{name}.weight": torch.randn(*shape, generator=generator) * width**-0.5
            for layer in range(first, first + 9)
            for name, shape in shapes.items()
        }
        save_file(shard, folder / f"model-{first:02}.safetensors")
        places |= dict.fromkeys(shard, f"model-{first:02}.safetensors")
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


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
