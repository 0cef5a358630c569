"""Certified spectral norms beside torch's singular values, in one run.

    python -m benchmarks.norms [--repeat N] [--method auto ...]

Prints ratios, not seconds: both sides run in turns in the same process and the best of each
counts, so that another machine, or a busy one, prints nearly the same.
"""

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from specaudit.norms import METHODS, spectral_norm
from specaudit.operators import dense
from specaudit.report import Settings

# (rows, columns, ratio that is asked for)
SHAPES = [(4096, 4096, 4.0), (768, 3072, 2.5), (768, 768, None), (1024, 4096, None)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--method", nargs="+", default=["auto"], choices=list(METHODS))
    arguments = parser.parse_args()
    print(machine())
    print("| float32 matrix | method | width | faster than svdvals | asked |")
    print("| --- | --- | --- | --- | --- |")
    for rows, columns, asked in SHAPES:
        matrix = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
        tensor = torch.from_numpy(matrix)
        for method in arguments.method:
            settings = Settings(method=method)
            norm = spectral_norm(dense(matrix[:64]), settings)  # imports, threads
            theirs, ours = race(
                lambda tensor=tensor: torch.linalg.svdvals(tensor),
                lambda matrix=matrix, settings=settings: spectral_norm(dense(matrix), settings),
                repeat=arguments.repeat,
            )
            norm = spectral_norm(dense(matrix), settings)
            width = norm.bracket.relative_width
            print(
                f"| {rows}x{columns} | {method} ({norm.status}) | {width:.0e} "
                f"| {theirs / ours:.1f}x | {f'{asked}x' if asked else ''} |"
            )


def race(*runs: Callable[[], object], repeat: int) -> list[float]:
    """Return the best wall-clock time of each, taken in turns."""
    best = [float("inf")] * len(runs)
    for _ in range(repeat):
        for index, run in enumerate(runs):
            started = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - started)
    return best


def machine() -> str:
    """Name the processor, the threads and the libraries."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    versions = f"numpy {np.__version__}, torch {torch.__version__}, {platform.python_version()}"
    return f"{name}, {torch.get_num_threads()} threads; {versions}\n"


if __name__ == "__main__":
    main()
