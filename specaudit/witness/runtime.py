"""The search with onnxruntime, for networks with operations that `network` does not evaluate.

Native code on a file that nobody vouches for: `specaudit.sandbox` runs `search` in a process
of its own. What it finds is an observation, no proof: nobody bounds the rounding.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from specaudit.errors import ModelError, UnsupportedModel
from specaudit.witness.evidence import Witness
from specaudit.witness.inputs import Inputs
from specaudit.witness.search import Searcher

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specaudit.witness.balls import Array

    Arrays = Mapping[str, NDArray[np.generic]]

_POINTS = 20_000
_BLOCK_BYTES = 1 << 26


def task(
    path: str,
    inputs: Inputs,
    input_range: Mapping[str, tuple[float, float]],
    seed: int,
    noise: float,
) -> "Arrays":
    """What to give to `search`, as arrays."""
    low, high = inputs.box(input_range)
    text = json.dumps(
        {
            "path": path,
            "real": inputs.real,
            "whole": inputs.whole,
            "batches": inputs.batches,
            "seed": seed,
            "noise": noise,
        }
    )
    return {"task": np.array(text), "low": low, "high": high}


def search(arrays: "Arrays") -> "Arrays":
    """Find the steepest pair; both points and their images."""
    given = json.loads(str(arrays["task"]))
    real, whole = (
        {name: (tuple(shape), dtype) for name, (shape, dtype) in given[key].items()}
        for key in ("real", "whole")
    )
    inputs = Inputs(real, whole, given["batches"])
    session = _opened(given["path"])
    function = _images(session, inputs)
    low = np.asarray(arrays["low"], dtype=np.float64)
    high = np.asarray(arrays["high"], dtype=np.float64)
    searcher = Searcher(
        lambda points: function(np.stack([inputs.rounded(p, (low, high)) for p in points])),
        inputs.size,
        (low, high),
        given["noise"],
        lambda points: points,
        _POINTS,
        given["seed"],
        step=1e-3,
        call=1,
    )
    found = searcher.best(1)
    if not found:
        raise UnsupportedModel("no slope was seen that rounding could not have made")
    kept: dict[str, NDArray[np.generic]] = {}
    for side, point in (("a", found[0].a), ("b", found[0].b)):
        feeds = inputs.feeds(inputs.rounded(point, (low, high))[None])
        kept |= {f"{side}/{name}": values for name, values in feeds.items()}
        images = session.run(None, feeds)
        names = [output.name for output in session.get_outputs()]
        kept |= {f"image_{side}/{n}": image for n, image in zip(names, images, strict=True)}
    return kept


def witness(found: "Arrays") -> Witness:
    """The pair that `search` found, of which nothing is proved."""
    sides = {
        side: {
            name.partition("/")[2]: values
            for name, values in found.items()
            if name.partition("/")[0] == side
        }
        for side in ("a", "b", "image_a", "image_b")
    }
    pair = Witness(**sides, lower=0.0)
    if not pair.a or not pair.image_a or not 0.0 < pair.quotient < math.inf:
        raise ModelError("the process with the native code gave no usable answer")
    return pair


def _opened(path: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UnsupportedModel("onnxruntime is not installed") from None
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def _images(session: Any, inputs: Inputs) -> "Callable[[Array], Array]":
    block = max(1, _BLOCK_BYTES // (8 * inputs.size)) if inputs.batches else 1

    def images(points: "Array") -> "Array":
        rows = []
        for start in range(0, len(points), block):
            part = points[start : start + block]
            found = session.run(None, inputs.feeds(part))
            flat = [np.asarray(f, dtype=np.float64).reshape(len(part), -1) for f in found]
            rows.append(np.concatenate(flat, axis=1))
        return np.concatenate(rows)

    return images
