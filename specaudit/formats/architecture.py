"""A state dict and the user's own code that builds its module: together, a graph.

This imports and runs the code that is named; the file's tensors are still the ones that the
symbolic reader read.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from specaudit.errors import SpecauditError, UnsupportedModel, UsageError
from specaudit.formats import tracing
from specaudit.model import Model, Weight

if TYPE_CHECKING:
    import torch
    from torch import nn

    from specaudit.model import Tensor


def with_architecture(
    model: Model, factory: str, input_shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Model, dict[str, tuple[int, ...]]]:
    """Add the graph of the module that `factory` builds, with the weights of `model` in it.

    Parameters
    ----------
    model : Model
        A state dict; its names may all have one prefix before those of the module.
    factory : str
        ``package.module:name`` of a class or function that is called without arguments; looked
        for where Python looks, and last in the working directory.
    input_shapes : mapping
        By the names of ``forward``'s parameters; ``""`` stands for the first.

    Returns
    -------
    model : Model
    input_shapes : dict
        With all names.

    Raises
    ------
    UsageError
        There is no such factory, it does not give a module, or the weights are not those of
        the module.
    UnsupportedModel
        The module cannot be exported.
    """
    if model.graph is not None:
        raise UsageError("--arch is for state dicts: this file has a graph", where=model.path)
    module = _built(factory)
    with tracing.torch_speaking("the weights do not fit the module", model.path):
        names = _filled(module, model, factory)
    shapes = _arguments(module, input_shapes, factory)
    return _traced(_without_optimizer(model), module, shapes, names), shapes


def _built(factory: str) -> "nn.Module":
    with tracing.torch_speaking("torch cannot be imported", ""):
        from torch import nn
    place, _, name = factory.partition(":")
    if not place or not name:
        raise UsageError(f"--arch {factory}: not of the form package.module:factory")
    # Last: what lies in the working directory must not stand in for an installed package.
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        made = import_module(place)
        for part in name.split("."):
            made = getattr(made, part)
        module = made if isinstance(made, nn.Module) else made()  # type: ignore[operator]
    except Exception as problem:  # the user's code raises whatever it likes
        lines = str(problem).strip().splitlines() or [""]
        raise UsageError(
            f"--arch {factory}: {type(problem).__name__}: {lines[0][:200]}",
            help="name a class or function that builds the module without arguments",
        ) from problem
    if not isinstance(module, nn.Module):
        raise UsageError(f"--arch {factory}: gives a {type(module).__name__}, not a torch module")
    return module.eval()  # a state dict knows of no mode


def _filled(module: "nn.Module", model: Model, factory: str) -> dict[str, Weight]:
    """Put the weights into the module, and return them by its names for them.

    Every tensor of the module must be in the file.
    """
    wanted = module.state_dict(keep_vars=True)
    found = _matching(model, wanted, factory)
    for name, weight in found.items():
        if weight.shape != tuple(wanted[name].shape):
            raise UsageError(
                f"{name} is {_shown(weight.shape)} in the file, and "
                f"{_shown(tuple(wanted[name].shape))} in the module of {factory}",
                where=model.path,
            )
    tensors = {name: _tensor(weight.read(), wanted[name]) for name, weight in found.items()}
    module.load_state_dict(tensors, strict=False)
    return found


def _matching(
    model: Model, wanted: "Mapping[str, torch.Tensor]", factory: str
) -> dict[str, Weight]:
    """The weights by the names that the module has for them."""
    held = {weight.name: weight for weight in model.weights if weight.role != "optimizer"}
    first = next(iter(wanted), "")
    prefixes = [name.removesuffix(first) for name in held if name.endswith(first)]
    if "" in prefixes:
        prefixes = [""]
    best: dict[str, Weight] = {}
    for prefix in prefixes:
        if prefix and not prefix.endswith("."):
            continue
        found = {name: held[prefix + name] for name in wanted if prefix + name in held}
        best = max(best, found, key=len)
    present = {wanted[name].data_ptr() for name in best}
    missing = [
        name
        for name, tensor in wanted.items()
        if name not in best
        and not name.endswith("num_batches_tracked")
        and (not tensor.numel() or tensor.data_ptr() not in present)
    ]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"the file has no {missing[0]}{more}, which the module of {factory} has",
            where=model.path,
        )
    return best


def _tensor(values: "Tensor", like: "torch.Tensor") -> "torch.Tensor":
    import torch

    if values.dtype.kind not in "biufc":  # types of ml_dtypes, all of them exact in float32
        values = values.astype(np.float32)
    return torch.from_numpy(np.array(values)).to(like.dtype)


def _arguments(
    module: "nn.Module", input_shapes: Mapping[str, tuple[int, ...]], factory: str
) -> dict[str, tuple[int, ...]]:
    names = tracing.parameters_of(module)
    if not names:
        raise UsageError(f"the module of {factory} takes no input")
    shapes = {name or names[0]: shape for name, shape in input_shapes.items()}
    advice = f"give --input-shape {names[0]}=1x3x224x224, one for each of: {', '.join(names)}"
    if not shapes:
        raise UsageError("--arch needs the shapes of the inputs", help=advice)
    unknown = [name for name in shapes if name not in names]
    if unknown:
        raise UsageError(f"the module of {factory} has no input {unknown[0]}", help=advice)
    return shapes


def _without_optimizer(model: Model) -> Model:
    """Leave out the optimizer's state, which is no part of the module, and say so."""
    kept = tuple(weight for weight in model.weights if weight.role != "optimizer")
    count = len(model.weights) - len(kept)
    said = (f"{count} tensors of optimizer state are not part of the module",) if count else ()
    return replace(model, weights=kept, notes=(*model.notes, *said))


def _traced(
    model: Model,
    module: "nn.Module",
    shapes: Mapping[str, tuple[int, ...]],
    names: Mapping[str, Weight],
) -> Model:
    """Trace on real numbers; where the module takes none, on whole ones."""
    import torch

    real = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    problems: list[SpecauditError] = []
    for dtype in (real, torch.int64):
        example = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
        try:
            return tracing.with_module(model, module, example, names)
        except UnsupportedModel as problem:
            problems.append(problem)
    raise problems[0]


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"
