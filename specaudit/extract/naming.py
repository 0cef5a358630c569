"""Which kind of layer a tensor of a bare checkpoint is, from its name, rank, siblings and class.

A state dict holds names and numbers, and no word on what is done with them. In order of trust:

1. the class of the module that owns the tensor, where the file is a whole module;
2. the parameter's own name: ``running_mean``, ``bias``, ``weight_hh_l0``, ``in_proj_weight``;
3. its rank: ``weight`` of rank 2 is linear, of rank 3 to 5 a convolution, of rank 1 a scale;
4. words in the owner's name that tell an embedding, a bilinear form, a stack of experts or a
   transposed convolution from these. An ``nn.Embedding`` has no bias, so an owner that has
   one is linear whatever it is called.

What is read wrongly by rule 4 is still measured: a linear layer taken for an embedding only
stays out of the product, and the size-free bound of a convolution is that of its transpose.
A float tensor of rank 2 or more that nothing explains is a hole in the audit, not a skip.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from specaudit.extract.skipping import is_float
from specaudit.report import Kind

EMBEDDING = {"embed", "embeds", "embedding", "embeddings", "emb", "embs", "wte", "wpe", "vocab"}
POSITION = {"pos", "position", "positional", "positions", "pe", "posenc"}
NORM = {"norm", "bn", "ln", "layernorm", "batchnorm", "groupnorm", "instancenorm", "rmsnorm"}
STATISTICS = {
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "moving_mean",
    "moving_variance",
}
SCALES = {"weight", "gamma", "scale", "g", "w"}
INDICES = {"id", "ids", "idx", "index", "indices", "indexes", "perm", "order", "lengths", "mask"}
ADDED = {"token", "tokens", "query", "queries", "mean", "std", "offset", "shift", "center", "prior"}
FREQUENCIES = {"freq", "freqs", "frequency", "frequencies", "inv"}
KERNELS = {"weight", "kernel", "w", "filter", "filters", "basis"}
EXPERTS = {"expert", "experts", "moe"}

_RECURRENT = re.compile(r"^weight_(ih|hh|hr)(_l\d+)?(_reverse)?$")
_TRANSPOSED = re.compile(r"deconv|transpose|transconv|convtrans|convt$|^tconv")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a tensor is: a layer of some kind, or why it is none.

    `layout` says how its values become the layout of the kind: as they are; as a matrix whose
    rows run over all but the last dimension (``table``); flattened; from channels-last
    (``hwio``); or one layer for each entry of the first dimension (``stack``).
    """

    kind: Kind | None
    reason: str = ""
    covered: bool = True
    layout: Literal["plain", "table", "flat", "hwio", "stack"] = "plain"
    notes: tuple[str, ...] = ()


def reading(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    sibling: Callable[[str], tuple[int, ...] | None],
    attributes: Mapping[str, object],
) -> Reading:
    """Return what the tensor `name` is.

    Parameters
    ----------
    name : str
    shape : tuple of int
    dtype : str
    sibling : callable
        Shape of the tensor beside this one that has the given last name, or None.
    attributes : mapping
        Of the module that owns the tensor, where the file says them.
    """
    owner, leaf = parts(name)
    if not is_float(dtype):
        return _integer(leaf, shape, dtype)
    if 0 in shape:
        return _skipped("has no elements")
    if leaf in STATISTICS:
        return _skipped("running statistics")
    if leaf.startswith("bias") or leaf in {"beta", "in_proj_bias"} or words(leaf)[-1:] == ["bias"]:
        return _skipped("bias")
    if "mask" in words(leaf):
        return _skipped("mask")
    by_class = _by_class(class_name(attributes), leaf, len(shape))
    if by_class is not None:
        return by_class
    long = [size for size in shape if size != 1]
    if len(shape) < 2 or (len(long) < 2 and (leaf not in KERNELS or NORM & set(words(owner)))):
        return _vector(owner, leaf, shape, sibling)
    if len(shape) == 2:
        return _matrix(owner, leaf, sibling)
    return _kernel(owner, leaf, shape)


def parts(name: str) -> tuple[str, str]:
    """Split a name into the last segment of its owner and its own last segment."""
    path, _, leaf = name.rpartition(".")
    return path.rpartition(".")[2], leaf


def words(segment: str) -> list[str]:
    """Return the words of a segment: ``posEmbed_2`` has pos and embed."""
    return [word.lower() for word in _WORD.findall(segment)]


def is_transposed(owner: str) -> bool:
    """Whether a module's name says that it is a transposed convolution."""
    return _TRANSPOSED.search("".join(words(owner))) is not None


def class_name(attributes: Mapping[str, object]) -> str:
    """Return the bare class name of a module, or nothing."""
    return str(attributes.get("class", "")).rpartition(".")[2]


def _skipped(reason: str, *, covered: bool = True) -> Reading:
    return Reading(None, reason, covered)


def _by_class(name: str, leaf: str, rank: int) -> Reading | None:
    if not name or leaf != "weight":
        return None
    if "PReLU" in name:
        return _skipped("slopes of an activation, not a linear operator")
    if "Norm" in name and rank == 1:
        return Reading("scale")
    if "ConvTranspose" in name and 3 <= rank <= 5:
        return Reading("convolution_transposed")
    if re.search(r"Conv[123]d", name) and 3 <= rank <= 5:
        return Reading("convolution")
    if "Bilinear" in name and rank == 3:
        return Reading("bilinear")
    if "Embedding" in name and rank == 2:
        return Reading("embedding")
    return Reading("linear") if "Linear" in name and rank == 2 else None


def _vector(
    owner: str,
    leaf: str,
    shape: tuple[int, ...],
    sibling: Callable[[str], tuple[int, ...] | None],
) -> Reading:
    """Read a tensor with at most one dimension longer than 1."""
    told = set(words(leaf))
    if told & (ADDED | EMBEDDING | POSITION) or {"cls", "class"} & told:
        return _skipped("added to the activations, not a linear operator")
    if FREQUENCIES & told:
        return _skipped("frequencies of an encoding, not a weight")
    if {"prelu"} & set(words(owner)):
        return _skipped("slopes of an activation, not a linear operator")
    if leaf in SCALES or told & SCALES:
        normal = NORM & set(words(owner)) or any(
            sibling(other) == shape for other in ("bias", "beta", "running_var")
        )
        doubt = () if normal else ("taken for a diagonal scale; may be slopes of an activation",)
        return Reading("scale", layout="flat", notes=doubt)
    what = "a vector" if shape else "a number"
    return _skipped(f"{what} that no kind of layer explains", covered=False)


def _matrix(owner: str, leaf: str, sibling: Callable[[str], tuple[int, ...] | None]) -> Reading:
    if _RECURRENT.match(leaf) or leaf == "recurrent_kernel":
        return Reading("recurrent")
    if leaf == "in_proj_weight":
        return Reading("linear", notes=("query, key and value projections packed as rows",))
    if leaf == "weight":
        told = set(words(owner))
        table = EMBEDDING | POSITION | {"bias"}
        if told & table and not told & {"lm", "unembed", "proj"} and sibling("bias") is None:
            return Reading("embedding", notes=("taken for an embedding by its name",))
    elif set(words(leaf)) & (EMBEDDING | POSITION):
        return Reading("embedding", notes=("taken for an embedding by its name",))
    return Reading("linear")


def _kernel(owner: str, leaf: str, shape: tuple[int, ...]) -> Reading:
    """Read a tensor of rank 3 or more."""
    told, own = set(words(owner)), set(words(leaf))
    if own & (EMBEDDING | POSITION) and math.prod(shape[:-2]) == 1:
        by_name = ("taken for an embedding by its name",)
        return Reading("embedding", layout="table", notes=by_name)
    if len(shape) == 3 and "bilinear" in told | own:
        return Reading("bilinear")
    if len(shape) == 3 and (EXPERTS & (told | own)):
        return Reading("linear", layout="stack")
    if len(shape) > 5:
        return _skipped(f"rank {len(shape)}: no kind of layer explains it", covered=False)
    if not own & KERNELS and leaf.lower() != "w":
        return _skipped(f"rank {len(shape)}: no kind of layer explains it", covered=False)
    if is_transposed(owner):
        return Reading("convolution_transposed", notes=("taken for transposed by its name",))
    sure = "conv" in owner.lower() or len(shape) == 4
    notes: tuple[str, ...] = (
        () if sure else (f"taken for a {len(shape) - 2}-d convolution by its rank",)
    )
    spatial = shape[:-2]
    if leaf == "kernel" and max(spatial) < min(shape[-2:]):
        notes = ("taken for a channels-last kernel (Flax, Keras)",)
        return Reading("convolution", layout="hwio", notes=notes)
    return Reading("convolution", notes=notes)


def _integer(leaf: str, shape: tuple[int, ...], dtype: str) -> Reading:
    if leaf in STATISTICS:
        return _skipped("running statistics")
    if dtype == "bool":
        return _skipped("truth values, not a weight")
    if len(shape) < 2 or 0 in shape:
        return _skipped("integers, not a weight")
    if set(words(leaf)) & (INDICES | POSITION):
        return _skipped("integer index table, not a weight")
    return _skipped("an integer weight without a scale", covered=False)
