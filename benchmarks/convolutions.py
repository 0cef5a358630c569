"""Certified operator norms of ResNet-50's convolutions, beside torch's reshaped SVDs.

    python -m benchmarks.convolutions [--repeat N] [--seed N]

The weights are random, which is the hardest case: every frequency is nearly as high as the
highest, and all of them have to be certified. Prints ratios; the last row is of all layers of
a ResNet-50 together.
"""

import argparse
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.norms import machine, race
from specaudit.norms import one_thread
from specaudit.norms.symbol import operator_norm
from specaudit.report import Geometry, Norm

# ((out, in, k, k), stride): how many of them a ResNet-50 has.
RESNET50 = {
    ((64, 3, 7, 7), 2): 1,
    ((64, 64, 3, 3), 1): 3,
    ((128, 128, 3, 3), 1): 3,
    ((128, 128, 3, 3), 2): 1,
    ((256, 256, 3, 3), 1): 5,
    ((256, 256, 3, 3), 2): 1,
    ((512, 512, 3, 3), 1): 2,
    ((512, 512, 3, 3), 2): 1,
    ((64, 64, 1, 1), 1): 1,
    ((256, 64, 1, 1), 1): 4,
    ((64, 256, 1, 1), 1): 2,
    ((128, 256, 1, 1), 1): 1,
    ((512, 128, 1, 1), 1): 4,
    ((128, 512, 1, 1), 1): 3,
    ((512, 256, 1, 1), 2): 1,
    ((256, 512, 1, 1), 1): 1,
    ((1024, 256, 1, 1), 1): 6,
    ((256, 1024, 1, 1), 1): 5,
    ((1024, 512, 1, 1), 2): 1,
    ((512, 1024, 1, 1), 1): 1,
    ((2048, 512, 1, 1), 1): 3,
    ((512, 2048, 1, 1), 1): 2,
    ((2048, 1024, 1, 1), 2): 1,
}
HARDEST = ((512, 512, 3, 3), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    operator_norm(rng.standard_normal((256, 256, 2, 2)), None)  # imports, threads
    print(machine())
    print("| kernel | stride | in ResNet-50 | width | times its SVD | asked |")
    print("| --- | --- | --- | --- | --- | --- |")
    layers = []
    for (shape, stride), count in RESNET50.items():
        deviation = math.sqrt(2.0 / math.prod(shape[1:]))
        kernel = (rng.standard_normal(shape) * deviation).astype(np.float32)
        geometry = Geometry((stride, stride), (shape[2] // 2,) * 4, (1, 1))
        matrix = torch.from_numpy(kernel).flatten(1)
        seconds = race(
            lambda matrix=matrix: torch.linalg.svdvals(matrix),
            lambda kernel=kernel, geometry=geometry: operator_norm(kernel, geometry),
            repeat=arguments.repeat,
        )
        norm = operator_norm(kernel, geometry)
        assert norm.status == "certified", norm
        assert norm.bracket.relative_width <= 1e-2, norm
        layers += [(matrix, kernel, geometry)] * count
        name, ratio = "×".join(map(str, shape)), seconds[1] / seconds[0]
        asked = "15" if (shape, stride) == HARDEST else ""
        width = f"{norm.bracket.relative_width:.0e}"
        print(f"| {name} | {stride} | {count} | {width} | {ratio:.2f} | {asked} |", flush=True)
    theirs, ours = race(
        lambda: [torch.linalg.svdvals(matrix) for matrix, _, _ in layers],
        lambda: side_by_side([(kernel, geometry) for _, kernel, geometry in layers]),
        repeat=arguments.repeat,
    )
    print(f"| the whole set | | {len(layers)} | | {ours / theirs:.2f} | 4 |")


def side_by_side(layers: list[tuple[np.ndarray, Geometry]]) -> list[Norm]:
    """Measure layers as `specaudit inspect` does, on as many threads as torch has."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, one_thread():
        return list(pool.map(lambda layer: operator_norm(*layer), layers))


if __name__ == "__main__":
    main()
