"""Sharded checkpoints, and folders: an index file names for each tensor the shard it is in."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.files import ModelFile, contained, shown
from specaudit.formats.safetensors import parse_json
from specaudit.formats.sniff import INDEX
from specaudit.model import Model, Weight

MODELS = (".onnx", ".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pt2", ".jit", ".pth.tar")
LISTED = 10  # of many names, an error shows this many


@dataclass(frozen=True, slots=True)
class Shards:
    """What a sharded set is made of: the index, and each shard as it was read."""

    file: ModelFile
    models: Mapping[str, Model]


def load(path: str, load_shard: Callable[[str], Model]) -> Model:
    """Read the shards that the index at `path` names, as one model.

    Parameters
    ----------
    path : str
    load_shard : callable
        Reads a single file.

    Raises
    ------
    UnreadableModel
        A shard is missing or lies outside the folder of the index, a tensor is not in the
        shard that is said to hold it, or is in two.
    """
    file = ModelFile.at(path)
    homes = read_index(file)
    shards: dict[str, Model] = {}
    for location, target in find_shards(file, homes.values()).items():
        shards[location] = load_shard(target)
    check_homes(homes, shards, path)
    first = next(iter(shards.values()))
    missing = [entry for shard in shards.values() for entry in shard.missing]
    missing.extend(unlisted(homes, shards))
    return Model(
        path=path,
        format=first.format,
        digest=file.digest,
        weights=tuple(weights_of(shards)),
        notes=tuple(
            f"{shown(name)[1:-1]}: {note}" for name, s in shards.items() for note in s.notes
        ),
        missing=tuple(missing),
        source=Shards(file, shards),
    )


def read_index(file: ModelFile) -> dict[str, str]:
    """The shard of each tensor."""
    if file.size > limits.scaled(limits.JSON_BYTES):
        _refuse(f"an index of {file.size} bytes", file.path)
    homes = parse_json(file.read(0, file.size), file.path).get("weight_map")
    if not isinstance(homes, dict) or not homes:
        _refuse("this index has no weight_map that lists tensors", file.path)
    for name, location in homes.items():
        if not isinstance(location, str):
            _refuse(f"weight_map gives no file name for {shown(name)}", file.path)
    return homes


def find_shards(file: ModelFile, locations: Iterable[str]) -> dict[str, str]:
    """The resolved path of each shard; all that are missing are named in one error."""
    found: dict[str, str] = {}
    problems: list[UnreadableModel] = []
    distinct = dict.fromkeys(locations)
    if len(distinct) > limits.SHARDS:
        _refuse(f"the index names more than {limits.SHARDS} shards", file.path)
    for location in distinct:
        try:
            found[location] = contained(file.path, location)
            if ModelFile.at(found[location]).same_file(file):
                _refuse("the index names itself as a shard", file.path)
        except UnreadableModel as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        what = f"{len(problems)} shards cannot be read"
        listed(what, [p.message for p in problems], file.path, problems[0].help)
    return found


def check_homes(homes: Mapping[str, str], shards: Mapping[str, Model], path: str) -> None:
    """Raise unless each tensor is in the shard that the index says, and in no other."""
    where: dict[str, str] = {}
    twice: list[str] = []
    for location, shard in shards.items():
        names = names_of(shard)
        twice.extend(shown(name) for name in names if name in where)
        where.update(dict.fromkeys(names, location))
    if twice:
        listed("tensors are in two shards", twice, path)
    lost = [shown(name) for name, location in homes.items() if where.get(name) != location]
    if lost:
        listed("tensors are not in the shards that the index names", lost, path)


def names_of(model: Model) -> list[str]:
    """Every name in a shard, of tensors that can be read and of those that cannot."""
    return [weight.name for weight in model.weights] + [name for name, _ in model.missing]


def weights_of(shards: Mapping[str, Model]) -> Iterator[Weight]:
    """The weights of all shards; each calls its first storage the same, so its name goes before."""
    for location, shard in shards.items():
        for weight in shard.weights:
            storage = weight.storage and f"{location}/{weight.storage}"
            yield replace(weight, storage=storage)


def unlisted(homes: Mapping[str, str], shards: Mapping[str, Model]) -> Iterator[tuple[str, str]]:
    """The tensors that are in a shard but not in the index, as one entry of what is not covered."""
    extra = [w.name for shard in shards.values() for w in shard.weights if w.name not in homes]
    if extra:
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        reason = f"in a shard{more}, but not in the index: measured, though no loader sees it"
        yield extra[0], reason


def in_folder(path: str) -> str:
    """The one index, or else the one model file, that the folder at `path` holds."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise UnreadableModel(f"cannot be read: {error.strerror}", where=path) from error
    indexes = [name for name in names if name.endswith(INDEX)]
    found = indexes or [name for name in names if name.lower().endswith(MODELS)]
    if not found:
        _refuse("a directory that holds no model file", path)
    if len(found) > 1:
        raise UnreadableModel(
            f"a directory that holds {len(found)} model files",
            where=path,
            help=f"name one of them: {', '.join(map(shown, found[:LISTED]))}{_more(found)}",
        )
    return os.path.join(path, found[0])


def listed(what: str, names: list[str], where: str, help: str = "") -> NoReturn:
    """Raise an error that names what it can."""
    raise UnreadableModel(
        f"{what}: {', '.join(names[:LISTED])}{_more(names)}", where=where, help=help
    )


def _more(names: list[str]) -> str:
    return f" and {len(names) - LISTED} more" if len(names) > LISTED else ""


def _refuse(reason: str, where: str) -> NoReturn:
    raise UnreadableModel(reason, where=where)
