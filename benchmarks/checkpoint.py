"""A 90 MB transformer checkpoint, whole process: `specaudit inspect` beside a torch script.

    python -m benchmarks.checkpoint [--repeat N]

The script is what a user would write: load the file, take `torch.linalg.matrix_norm(w, 2)`
of every weight. It proves nothing, and calls the norm of a kernel that of its layer.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.norms import machine, race

ASKED = 10.0
SCRIPT = """
import sys, torch
state = torch.load(sys.argv[1], weights_only=True)
for name, weight in state.items():
    if weight.ndim > 1:
        print(name, torch.linalg.matrix_norm(weight.flatten(1), 2).item())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "transformer.pt"))
        torch.save(transformer(), path)
        theirs, ours = race(
            lambda: run("-c", SCRIPT, path),
            lambda: run("-m", "specaudit", "inspect", path, "--format", "json"),
            repeat=arguments.repeat,
        )
        size = Path(path).stat().st_size / 1e6
    print(f"| file | {size:.0f} MB, {len(transformer())} tensors |\n| --- | --- |")
    print(f"| faster than the script | {theirs / ours:.1f}x |\n| asked | {ASKED:.0f}x |")


def transformer(
    layers: int = 6, width: int = 384, words: int = 30522, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return the state dict of a BERT-like encoder, float32."""
    generator = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> torch.Tensor:
        return 0.02 * torch.randn(*shape, generator=generator)

    state = {
        "embeddings.word_embeddings.weight": weight(words, width),
        "embeddings.position_embeddings.weight": weight(512, width),
    }
    for index in range(layers):
        stem = f"encoder.layer.{index}"
        for name in ("attention.query", "attention.key", "attention.value", "attention.output"):
            state[f"{stem}.{name}.weight"] = weight(width, width)
            state[f"{stem}.{name}.bias"] = weight(width)
        state[f"{stem}.intermediate.weight"] = weight(4 * width, width)
        state[f"{stem}.intermediate.bias"] = weight(4 * width)
        state[f"{stem}.output.weight"] = weight(width, 4 * width)
        state[f"{stem}.output.bias"] = weight(width)
        for norm in ("attention.layer_norm", "output_layer_norm"):
            state[f"{stem}.{norm}.weight"] = 1.0 + weight(width)
            state[f"{stem}.{norm}.bias"] = weight(width)
    return state


def run(*arguments: str) -> None:
    # An installed package has its byte code; so has a checkout that is run twice.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    if finished.returncode:
        raise SystemExit(finished.stderr or finished.stdout)


if __name__ == "__main__":
    main()
