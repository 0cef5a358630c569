"""Files to models: one reader for each format, chosen by what the file holds."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specaudit.errors import SpecauditError, UnreadableModel, UnsupportedModel
from specaudit.formats import sniff
from specaudit.formats.sniff import Look, is_saved_audit
from specaudit.model import Model

if TYPE_CHECKING:
    from specaudit.formats.canvas import Values
    from specaudit.formats.saving import Output
    from specaudit.model import Tensor

__all__ = ["FORMATS", "Row", "is_saved_audit", "load", "save"]


@dataclass(frozen=True, slots=True)
class Row:
    """A format: how it is told, how it is read and written, what its files are called."""

    name: str
    matches: Callable[[Look], bool]
    load: Callable[[str], Model]
    outputs: "Callable[[Model, Mapping[str, Values], str], list[Output]]"
    extensions: tuple[str, ...]


def load(path: str | os.PathLike[str], *, trust: bool = False) -> Model:
    """Read the model at `path`, whatever its format; nothing from the file is executed.

    Parameters
    ----------
    path : str or path-like
        A file, or a folder that holds one model or one index of shards.
    trust : bool
        Let torch load a ``.pt2`` program for its graph, which can execute what is in the
        file. The weights are read symbolically all the same; no other format is read
        otherwise.

    Raises
    ------
    UsageError
        There is nothing at `path`.
    UnreadableModel
        The file is damaged, truncated, contradictory or hostile.
    UnsupportedModel
        It is of another format, or uses what is not read.

    Examples
    --------
    >>> load("sample_models/cnn.safetensors").format
    'safetensors'
    """
    path = os.fspath(path)
    try:
        if os.path.isdir(path):
            from specaudit.formats import index  # late: each format's reader only where it is met

            return replace(read(index.in_folder(path)), path=path)
        model = read(path)
        return _with_graph(model) if trust and model.format == "pt2" else model
    except SpecauditError as error:
        error.where = error.where or path
        raise
    except ImportError:
        raise  # a package is broken or missing, not the file
    except Exception as error:  # the one catch-all: readers meet bytes that nobody foresaw
        reason = f"damaged or unsupported ({type(error).__name__})"
        raise UnreadableModel(reason, where=path) from error


def save(
    model: Model,
    replaced: "Mapping[str, Tensor]",
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    verify: Callable[[Model], None] | None = None,
) -> tuple[str, ...]:
    """Write `model` to `out`, its file's bytes unchanged but for the tensors replaced.

    Parameters
    ----------
    model : Model
        As `load` gave it. Its files are never written to.
    replaced : Mapping of str to ndarray
        New values, of the shape of the weight of that name; rounded to its stored type,
        to nearest, ties to even. Each is asked for when its turn comes.
    out : str or path-like
        A file; for a set of shards a folder, or a path that ends in ``.index.json``. The data
        beside an ONNX file go beside `out`.
    force : bool
        Replace an existing file.
    verify : callable, optional
        Given the model that was written, read again, before it takes its place. Whatever it
        raises passes through, and nothing is left of the output.

    Returns
    -------
    tuple of str
        The files written; last the one to `load`.

    Raises
    ------
    UsageError
        `out` exists, or is an input, or there is no weight of a name in `replaced`.
    UnsupportedModel
        A value cannot be kept in the stored type, or a tensor shares bytes with another one
        that would change with it.
    OutputError
        `out` cannot be written.
    """
    from specaudit.formats import index, saving  # late: reading must not pay for it

    if isinstance(model.source, index.Shards):
        name = "index"
    else:
        name = "pytorch" if model.format == "torchscript" else model.format
    row = next((row for row in FORMATS if row.name == name), None)
    if row is None:
        raise UnsupportedModel("not read from a file, and cannot be written", where=model.path)
    # What was written needs no SHA-256 of its own, where that is another pass over the file.
    again = _shard if name in ("pytorch", "safetensors") else load
    judge = None if verify is None else lambda path: verify(again(path))
    return saving.save(
        model, replaced, os.fspath(out), outputs=row.outputs, force=force, verify=judge
    )


def read(path: str) -> Model:
    """Read one file by the first row of `FORMATS` that knows it."""
    seen = sniff.look(path)
    row = next((row for row in FORMATS if row.matches(seen)), None)
    if row is None:
        problem = sniff.foreign(seen)
        if problem is not None:
            raise problem
        row = next((row for row in FORMATS if seen.name.endswith(row.extensions)), None)
    if row is None:
        raise UnsupportedModel("unsupported format (not known)", where=path)
    model = row.load(path)
    named = next((r.name for r in FORMATS if seen.name.endswith(r.extensions)), row.name)
    if named != row.name:
        extension = os.path.splitext(seen.name)[1]
        model = replace(model, notes=(*model.notes, f"named {extension}, but holds {row.name}"))
    return model


def _with_graph(model: Model) -> Model:
    from specaudit.formats import tracing  # imports torch

    return tracing.with_program(model)


def _exported(path: str) -> Model:
    from specaudit.formats import exported  # late, as above

    return exported.load(path)


def _pytorch(path: str) -> Model:
    from specaudit.formats import pytorch  # late, as above

    return pytorch.load(path)


def _safetensors(path: str) -> Model:
    from specaudit.formats import safetensors  # late, as above

    return safetensors.load(path)


def _onnx(path: str) -> Model:
    from specaudit.formats import onnx  # late, as above

    return onnx.load(path)


def _sharded(path: str) -> Model:
    from specaudit.formats import index  # late, as above

    return index.load(path, _shard)


def _shard(path: str) -> Model:
    from specaudit.formats import pytorch, safetensors  # late, as above

    seen = sniff.look(path)
    if sniff.is_safetensors(seen):
        return safetensors.load(path, digest=False)
    if sniff.is_pytorch(seen):
        return pytorch.load_shard(path)
    raise sniff.foreign(seen) or UnsupportedModel("a shard of an unknown format", where=path)


def _one_file(model: Model, values: "Mapping[str, Values]", out: str) -> "list[Output]":
    from specaudit.formats import saving  # late, as above

    return saving.one_file(model, values, out)


def _shards(model: Model, values: "Mapping[str, Values]", out: str) -> "list[Output]":
    from specaudit.formats import saving  # late, as above

    return saving.several_files(model, values, out)


def _with_data(model: Model, values: "Mapping[str, Values]", out: str) -> "list[Output]":
    from specaudit.formats import onnx_saving  # late, as above

    return onnx_saving.outputs(model, values, out)


# In the order of trial: safetensors before pickles, whose first bytes it can share; ONNX,
# which has no magic number, last.
FORMATS = (
    Row("safetensors", sniff.is_safetensors, _safetensors, _one_file, (".safetensors",)),
    Row("pt2", sniff.is_pt2, _exported, _one_file, (".pt2",)),
    Row("pytorch", sniff.is_pytorch, _pytorch, _one_file, (".pt", ".pth", ".jit")),
    Row("index", sniff.is_index, _sharded, _shards, (".index.json",)),
    Row("onnx", sniff.is_onnx, _onnx, _with_data, (".onnx",)),
)
