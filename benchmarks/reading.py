"""Reading a 90 MB checkpoint, every tensor of it, beside `torch.load`; imports excluded.

    python -m benchmarks.reading [--repeat N]

Each reading has a process of its own, as it has for a user: in one that has read before, the
allocator hands out memory again or does not, which decides more than either reader.
`specaudit` also compares the checksum of every member of the archive, which `torch.load` does
not. The SHA-256 of the file is taken meanwhile, on another thread; the last line waits for it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.checkpoint import transformer
from benchmarks.norms import machine

ASKED = 1.1
CHILD = """
import sys, time
{imports}
path = sys.argv[1]
started = time.perf_counter()
{work}
print(time.perf_counter() - started)
"""
OURS = "model = load(path); tensors = [weight.read() for weight in model.weights]"
READERS = {
    "torch.load": ("import torch", "state = torch.load(path, weights_only=True)"),
    "with SHA-256 meanwhile": ("from specaudit.formats import load, pytorch", OURS),
    "waiting for the SHA-256": (
        "from specaudit.formats import load, pytorch",
        f"{OURS}; model.digest()",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "transformer.pt"))
        torch.save(transformer(), path)
        size = Path(path).stat().st_size / 1e6
        best = dict.fromkeys(READERS, float("inf"))
        for _ in range(repeat):  # in turns
            for name in READERS:
                best[name] = min(best[name], seconds(name, path))
    theirs = best.pop("torch.load")
    print(f"| {size:.0f} MB | beside torch.load | asked |\n| --- | --- | --- |")
    for name, ours in best.items():
        print(f"| {name} | {ours / theirs:.2f}x the time | {ASKED}x |")


def seconds(name: str, path: str) -> float:
    imports, work = READERS[name]
    code = CHILD.format(imports=imports, work=work)
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
