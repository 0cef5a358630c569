"""Models back to files: the source with the bytes of the replaced tensors changed, no others.

What a model consists of is copied into a folder of its own beside the target, the changed
stretches on the way; then it is read again, judged by `verify`, and moved into place.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, TypeAlias

from specaudit.errors import UnsupportedModel, UsageError
from specaudit.formats import canvas, pickled
from specaudit.formats.background import in_background
from specaudit.formats.canvas import Patch, Values
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.index import Shards
from specaudit.formats.onnx_tensors import TypedTensor
from specaudit.formats.parts import parts_of
from specaudit.formats.pickled import is_pickled
from specaudit.formats.regions import Region
from specaudit.formats.resealing import reseal
from specaudit.formats.sniff import INDEX
from specaudit.formats.splices import Moves, Splice, write_spliced
from specaudit.formats.strided import Strided
from specaudit.formats.writing import assembling
from specaudit.formats.zips import Archive
from specaudit.model import Model

if TYPE_CHECKING:
    from specaudit.model import Tensor

Replaced: TypeAlias = "Mapping[str, Tensor]"


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be written.

    Parameters
    ----------
    name : str
        Beside the target.
    source : ModelFile
        What it is a copy of.
    splices : sequence of Splice
        What changes.
    finish : callable, optional
        What else is to be set right in the copy, once it is written.
    obsolete : tuple of str
        Files of the output that this one replaces, which nothing names any more.
    """

    name: str
    source: ModelFile
    splices: Sequence[Splice] = ()
    finish: Callable[[FileIO, Moves], None] | None = None
    obsolete: tuple[str, ...] = ()


def save(
    model: Model,
    replaced: Replaced,
    out: str,
    *,
    outputs: "Callable[[Model, Mapping[str, Values], str], list[Output]]",
    force: bool,
    verify: Callable[[str], None] | None,
) -> tuple[str, ...]:
    """Write the files of `model` with new values; see `specaudit.formats.save`."""
    unknown = sorted(replaced.keys() - {weight.name for weight in model.weights})
    if unknown:
        raise UsageError(f"the model has no tensor {shown(unknown[0])}", where=model.path)
    values: dict[str, Values] = {name: partial(replaced.__getitem__, name) for name in replaced}
    folder, main = place_of(model, out)
    planned = outputs(model, values, os.path.join(folder, main))
    inputs = [output.source.path for output in planned]
    names = [output.name for output in planned]
    create = isinstance(model.source, Shards)
    with assembling(folder, names, inputs=inputs, force=force, create=create) as workplace:
        synced: Callable[[], None] | None = None
        for output in planned:
            before, synced = synced, write(output, os.path.join(workplace, output.name))
            if before is not None:
                before()  # one at a time: a set may have more files than a process may open
        if verify is not None:
            verify(os.path.join(workplace, names[-1]))
        if synced is not None:
            synced()
    for path in planned[-1].obsolete:
        with suppress(OSError):  # the new model is in place; what is left over harms nobody
            os.unlink(path)
    return tuple(os.path.join(folder, name) for name in names)


def place_of(model: Model, out: str) -> tuple[str, str]:
    """The folder to write to, and the name there of the file that names all others."""
    if isinstance(model.source, Shards) and not out.endswith(INDEX):
        return out, os.path.basename(model.source.file.path)
    folder, name = os.path.split(out)
    if not name:
        raise UsageError("the output is a folder", where=out, help="name a file in it")
    return folder or ".", name


def write(output: Output, path: str) -> Callable[[], None]:
    """Write one file; the function returned waits until it is safely on the disk."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x+b", buffering=0) as target:
        moves = write_spliced(output.source, output.splices, target)
        if output.finish is not None:
            output.finish(target, moves)
        return in_background(partial(_sync, os.dup(target.fileno())))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def one_file(model: Model, values: Mapping[str, Values], out: str) -> list[Output]:
    """The one file that a checkpoint, an archive or a safetensors file is."""
    patches = [
        Patch(weight.name, piece, new)
        for weight in model.weights
        for piece, new in parts_of(weight, values.get(weight.name))
        if not isinstance(piece, TypedTensor)  # ONNX alone has them
    ]
    splices = list(canvas.splices(patches))
    regions = {patch.piece.region for patch in patches if isinstance(patch.piece, Strided)}
    inner = [(w, values[w.name]) for w in model.weights if w.name in values and is_pickled(w)]
    if inner:
        pickle = pickle_of(model, regions)
        regions.add(pickle)
        splices.append(pickled.splice(pickle, inner))
    name = os.path.basename(out)
    if not isinstance(model.source, Archive):
        assert isinstance(model.source, ModelFile)
        return [Output(name, model.source, splices)]
    leaves = {(region.offset, region.stored_size) for region in regions}
    source = model.source.file

    def finish(target: FileIO, moves: Moves) -> None:
        reseal(source, target, splices, moves, leaves)

    return [Output(name, source, splices, finish)]


def pickle_of(model: Model, storages: Iterable[Region]) -> Region:
    """The pickle that describes a checkpoint's tensors, and holds some of their numbers."""
    source = model.source
    if isinstance(source, ModelFile):  # a legacy checkpoint begins with its pickles
        end = min((region.offset for region in storages), default=source.size)
        return Region(source, "", 0, end, end)
    assert isinstance(source, Archive)
    found = [region for name, region in source.members.items() if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise UnsupportedModel("numbers inside a pickle of this format are not written")
    return found[0]


def several_files(
    model: Model,
    values: Mapping[str, Values],
    out: str,
) -> list[Output]:
    """Every shard of a set, then its index."""
    shards = model.source
    assert isinstance(shards, Shards)
    written = []
    for location, shard in shards.models.items():
        (output,) = one_file(shard, values, out)
        written.append(replace(output, name=location))
    return [*written, Output(os.path.basename(out), shards.file)]
