"""Graphs from torch: what it exports to ONNX, over the weights that were read already.

Imports torch, and runs what it is given: an exported program (whose loader can execute what
is in the file) or a module.
"""

import contextlib
import inspect
import io
import logging
import re
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specaudit.errors import SpecauditError, UnsupportedModel, UsageError
from specaudit.formats import onnx
from specaudit.formats.files import ModelFile
from specaudit.model import Model, Weight

if TYPE_CHECKING:
    from torch import nn

_COLOR = re.compile("\x1b\\[[0-9;]*m")
INSTALL = "pip install 'specaudit[torch]'"


def with_program(model: Model) -> Model:
    """Add the graph of a ``.pt2`` file, which torch loads: this can execute what is in it.

    Parameters
    ----------
    model : Model
        The weights of the file, read symbolically.

    Raises
    ------
    UsageError
        Torch is not installed.
    UnsupportedModel
        Torch cannot load the program, or cannot export it.
    """
    with torch_speaking("torch cannot load this program", model.path):
        import torch

        with ModelFile.at(model.path).open() as file:
            program = torch.export.load(io.BytesIO(file.read()))
    return _exported(model, (program,), {}, _by_name(model))


def with_module(
    model: Model,
    module: "nn.Module",
    example_inputs: object,
    names: Mapping[str, Weight] | None = None,
) -> Model:
    """Add the graph of a live module, traced in evaluation mode.

    Parameters
    ----------
    model : Model
        The weights of the module, under the names of its ``state_dict()``.
    module : torch.nn.Module
        Left in the mode that it is in.
    example_inputs : tensor, sequence of arguments, or mapping of keywords
    names : mapping of str to Weight, optional
        The weights by the module's names, where these are not their own.

    Raises
    ------
    UsageError
        Torch, or what it exports with, is not installed.
    UnsupportedModel
        The module cannot be exported.
    """
    arguments: tuple[object, ...] = ()
    keywords: dict[str, object] = {}
    if isinstance(example_inputs, Mapping):
        keywords = dict(example_inputs)
    elif isinstance(example_inputs, list | tuple):
        arguments = tuple(example_inputs)
    else:
        arguments = (example_inputs,)
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        keywords = {"kwargs": keywords}
        found = _exported(model, (module, arguments), keywords, names or _by_name(model))
    finally:
        for part in training:
            part.training = True
    said = ("the graph is that of evaluation mode",) if training else ()
    return replace(found, notes=(*found.notes, *said))


def parameters_of(module: "nn.Module") -> tuple[str, ...]:
    """The names of what a module's ``forward`` takes, in order."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    signature = inspect.signature(module.forward)
    return tuple(name for name, p in signature.parameters.items() if p.kind in kinds)


@contextlib.contextmanager
def torch_speaking(what: str, where: str) -> Iterator[None]:
    """Turn whatever torch raises into one of our errors, and keep it from printing."""
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except SpecauditError:
        raise
    except ImportError as problem:
        missing = problem.name or "torch"
        raise UsageError(f"{missing} is needed, and not installed", help=INSTALL) from problem
    except Exception as problem:  # torch raises whatever it likes
        cause: BaseException = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = _COLOR.sub("", str(cause)).strip().splitlines() or [""]
        reason = f"{what} ({type(cause).__name__}: {lines[0][:200]})"
        advice = "torch.onnx.export(module, example_inputs, dynamo=True) says more"
        raise UnsupportedModel(reason, where=where, help=advice) from problem
    finally:
        logger.setLevel(level)


def _by_name(model: Model) -> dict[str, Weight]:
    return {weight.name: weight for weight in model.weights}


class _Folder:
    """A temporary folder that goes with the last model that reads from it."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="specaudit-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _exported(
    model: Model,
    arguments: tuple[object, ...],
    keywords: dict[str, Any],
    names: Mapping[str, Weight],
) -> Model:
    folder = _Folder()
    path = str(Path(folder.path) / "program.onnx")
    with torch_speaking("torch cannot export this program to ONNX", model.path):
        import torch

        # Optimising renames the weights of MatMul.
        program = torch.onnx.export(
            *arguments, **keywords, dynamo=True, optimize=False, verbose=False
        )
        assert program is not None
        program.save(path)
    return _joined(model, onnx.load(path), names, folder)


def _joined(
    model: Model,
    traced: Model,
    names: Mapping[str, Weight],
    folder: _Folder,
) -> Model:
    """The graph, reading the weights of `model` under their own names."""
    assert traced.graph is not None
    constants = traced.graph.constants
    own = {name: _first(names[name], model) for name in constants if name in names}
    taken = {name: _as_traced(weight, constants[name]) for name, weight in own.items()}
    swapped = {id(own[name]): weight for name, weight in taken.items()}
    gone = {id(constants[name]) for name in taken}
    return replace(
        model,
        graph=replace(traced.graph, constants={**constants, **taken}),
        weights=(
            *(swapped.get(id(weight), weight) for weight in model.weights),
            *(weight for weight in traced.weights if id(weight) not in gone),
        ),
        notes=(*model.notes, *traced.notes),
        missing=(*model.missing, *traced.missing),
        holds=folder,
    )


def _first(weight: Weight, model: Model) -> Weight:
    """The first of the names of a tied parameter, of which torch keeps any."""
    if not weight.storage:
        return weight
    memory = weight.storage, weight.extent, weight.shape, weight.dtype
    for other in model.weights:
        if other is weight:
            break
        if memory == (other.storage, other.extent, other.shape, other.dtype):
            # A square matrix and its transpose have all of these in common.
            return other if other.read().tobytes() == weight.read().tobytes() else weight
    return weight


def _as_traced(own: Weight, traced: Weight) -> Weight:
    """A weight that was read, if it is what the graph holds; in the graph's type."""
    values = own.read()
    if own.dtype != traced.dtype:
        values = values.astype(traced.dtype)
    theirs = traced.read()
    if values.shape != theirs.shape or values.tobytes() != theirs.tobytes():
        raise UnsupportedModel(
            "the graph that torch exports holds other values than were read", where=own.name
        )
    if own.dtype == traced.dtype:
        return own
    said = f"stored as {own.dtype}"
    return replace(traced, name=own.name, role=own.role, notes=(*own.notes, said))
