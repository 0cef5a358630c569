"""What a clamp does to outputs: both models run on random inputs, in a process of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnsupportedModel, UsageError
from specaudit.report import Drift

SECONDS = 600
MEMORY_BYTES = 16 << 30


def check(model_format: str) -> None:
    """Raise unless models of a format can be run here."""
    if model_format != "onnx":
        raise UsageError(
            f"--compare runs ONNX models, and this is {model_format}",
            help="leave --compare out, or export the model to ONNX",
        )
    if find_spec("onnxruntime") is None:
        raise UsageError(
            "--compare needs onnxruntime, which is not installed",
            help="pip install 'specaudit[onnx]'",
        )


def compare(
    before: str, after: str, count: int, *, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Drift:
    """Return how far the outputs of two ONNX files are apart on `count` random inputs.

    Notes
    -----
    Inputs are normally distributed; integers are 0 or 1, and a dimension that nothing says
    is 1. onnxruntime runs in a child process whose time and memory are limited, since what
    is in a model file is not ours.

    Raises
    ------
    UnsupportedModel
        If onnxruntime cannot run them.
    """
    task = json.dumps([before, after, count, {k: list(v) for k, v in shapes.items()}, seed])
    command = [sys.executable, "-m", "specaudit.rewrite.comparing"]
    try:
        done = subprocess.run(
            command, input=task, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnsupportedModel(f"onnxruntime took over {SECONDS} s", where=before) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnsupportedModel(f"onnxruntime cannot run it: {last[:200]}", where=before)
    largest, relative = json.loads(done.stdout)
    return Drift(count, largest, relative, seed)


def _main() -> None:
    before, after, count, shapes, seed = json.load(sys.stdin)
    _limit_memory()
    import onnxruntime  # in the child alone

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in (before, after)
    ]
    generator = np.random.default_rng(seed)
    largest = relative = 0.0
    for _ in range(count):
        feeds = {
            given.name: _sample(generator, given.type, shapes.get(given.name) or given.shape)
            for given in sessions[0].get_inputs()
        }
        old, new = (_flat(session.run(None, feeds)) for session in sessions)
        if not np.isfinite(old).all() or not np.isfinite(new).all():
            raise SystemExit("an output is not finite")
        if old.shape != new.shape:
            raise SystemExit("the outputs are of different sizes")
        largest = max(largest, float(np.abs(new - old).max(initial=0.0)))
        size = float(np.linalg.norm(old))
        relative = max(relative, float(np.linalg.norm(new - old)) / size if size else 0.0)
    json.dump([largest, relative], sys.stdout)


def _sample(
    generator: np.random.Generator, kind: str, shape: "list[object]"
) -> NDArray[np.generic]:
    sizes = tuple(size if isinstance(size, int) and size > 0 else 1 for size in shape)
    name = kind.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(name, name)
    if dtype.startswith("float"):
        return generator.standard_normal(sizes).astype(dtype)
    return generator.integers(0, 2, sizes).astype(dtype)


def _flat(outputs: "list[NDArray[np.generic]]") -> NDArray[np.float64]:
    """Return all numbers that came out, one after another."""
    real = [np.asarray(out) for out in outputs if isinstance(out, np.ndarray)]
    numbers = [out.astype(np.float64).reshape(-1) for out in real if out.dtype.kind == "f"]
    if not numbers:
        raise SystemExit("no output is of real numbers")
    return np.concatenate(numbers)


def _limit_memory() -> None:
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    _main()
