"""The options that several commands share, said once."""

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

import typer

from specaudit import limits
from specaudit.errors import UsageError
from specaudit.report import Settings

_FILES = ".onnx, .safetensors, .pt/.pth/.ckpt/.bin, .pt2, a shard index or the folder that holds it"
_SNIFFED = "The content decides, not the extension."
MODEL_HELP = f"{_FILES}, or a saved *.audit.json. {_SNIFFED}"
Models = Annotated[list[str], typer.Argument(metavar="MODEL…", help=MODEL_HELP, show_default=False)]
OneModel = Annotated[
    str, typer.Argument(metavar="MODEL", help=f"{_FILES}. {_SNIFFED}", show_default=False)
]
Choice = Literal["auto", "always", "never"]
FormatName = Literal["text", "json", "csv", "md", "html", "sarif", "junit", "github"]
PageName = Literal["text", "json", "md", "html"]
_NUMBERS, _SELECTION, _OUTPUT = "Numbers", "Selection", "Output"
_MOST_JOBS = 8
_TALK = {"jobs", "format", "report", "quiet", "verbose", "color", "progress", "debug"}


@dataclass(frozen=True)
class Shared:
    """Options of every command that reads a model; a command asks for them as ``shared``."""

    method: Annotated[
        Literal["auto", "svd", "lanczos", "power"],
        typer.Option(
            help="How spectral norms are computed; every method returns a bracket.",
            rich_help_panel=_NUMBERS,
        ),
    ] = "auto"
    rtol: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Wanted relative width of each bracket [default: 1e-6; 1e-2 where a convolution "
            "is not exact].",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps for power and lanczos [default: the method's own].",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    conv: Annotated[
        Literal["operator", "reshaped"] | None,
        typer.Option(
            help="Which number is the norm of a convolution: of the map that the layer applies, "
            "or of its kernel flattened. Both are always reported [default: operator].",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    certify: Annotated[
        bool,
        typer.Option(
            "--certify/--no-certify",
            help="Prove the upper ends; without it power and lanczos give estimates.",
            rich_help_panel=_NUMBERS,
        ),
    ] = True
    device: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda|cuda:N|auto",
            help="Where norms are computed.",
            rich_help_panel=_NUMBERS,
        ),
    ] = "cpu"
    jobs: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Layers measured side by side; large ones are measured alone.",
            rich_help_panel=_NUMBERS,
        ),
    ] = "auto"
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory that one audit may take, as 512M or 8G: a layer that needs more is not "
            "measured, and what a file may expand to is a share of it [default: no limit for "
            "layers, 4G for the shares].",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(help="Same input and seed, same document.", rich_help_panel=_NUMBERS),
    ] = 0
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=1x3x224x224",
            help="Binds the shape of an input; repeatable [default: from the graph].",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    input_range: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]LO,HI",
            help="The domain of the inputs: bounds that exist only on a bounded domain "
            "(attention, x·y, exp) become finite.",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "-l",
            "--layer",
            metavar="GLOB",
            help="Only these layers; repeatable. * stays within a dotted segment, ** crosses, "
            "re: begins a regular expression.",
            rich_help_panel=_SELECTION,
            show_default=False,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "-x",
            "--exclude",
            metavar="GLOB",
            help="Not these layers; repeatable.",
            rich_help_panel=_SELECTION,
            show_default=False,
        ),
    ] = None
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Let torch load a .pt2 program for its graph. Its loader can execute what is in "
            "the file; without this only the weights are read, symbolically.",
            rich_help_panel=_SELECTION,
        ),
    ] = False
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FACTORY",
            help="Code of yours that builds the module of a state dict: it is imported and run, "
            "and torch exports the module for its graph, at --input-shape.",
            rich_help_panel=_SELECTION,
            show_default=False,
        ),
    ] = None
    format: Annotated[
        FormatName,
        typer.Option("-f", "--format", help="What goes to stdout.", rich_help_panel=_OUTPUT),
    ] = "text"
    report: Annotated[
        list[str] | None,
        typer.Option(
            "-r",
            "--report",
            metavar="FORMAT=PATH",
            help="One more document from the same run; repeatable.",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            help="Errors alone on stderr: no notes, no progress. stdout is as without.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Text on a terminal in full: nothing grouped or cut.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False
    color: Annotated[
        Choice,
        typer.Option(help="NO_COLOR and FORCE_COLOR are honoured.", rich_help_panel=_OUTPUT),
    ] = "auto"
    progress: Annotated[
        Choice, typer.Option(help="On stderr, for work over a second.", rich_help_panel=_OUTPUT)
    ] = "auto"
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.", rich_help_panel=_OUTPUT)] = (
        False
    )


def with_shared(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command all the options of `Shared`, which it receives as ``shared``.

    Typer reads a function's signature; this one is the command's own parameters, then one
    for each field, so that an option is declared in one place.
    """
    return _sharing(command, FormatName)


def with_shared_pages(command: Callable[..., int]) -> Callable[..., int]:
    """Do as `with_shared` for a command that has pages alone for its formats."""
    return _sharing(command, PageName)


def with_shared_talk(command: Callable[..., int]) -> Callable[..., int]:
    """Do as `with_shared` for a command that measures little: how it talks, and no more."""
    names = {"format", "quiet", "verbose", "color", "progress", "debug"}
    return _sharing(command, Literal["text", "json"], names)


def _sharing(
    command: Callable[..., int], formats: object, names: Collection[str] | None = None
) -> Callable[..., int]:
    hints = get_type_hints(Shared, include_extras=True)
    hints["format"] = Annotated[(formats, *hints["format"].__metadata__)]
    fields = [f for f in dataclasses.fields(Shared) if names is None or f.name in names]
    hints = {f.name: hints[f.name] for f in fields}
    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command).parameters.values()
        if p.name != "shared"
    ]
    shared = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields
    ]

    @functools.wraps(command)
    def wrapper(**values: Any) -> int:
        options = Shared(**{f.name: values.pop(f.name) for f in fields})
        if options.max_memory is not None:
            limits.allow(size_bytes(options.max_memory))
        return command(**values, shared=options)

    annotations = get_type_hints(command, include_extras=True)
    annotations.pop("shared")
    wrapper.__annotations__ = annotations | hints
    wrapper.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return wrapper


def settings(options: Shared, defaults: Settings | None = None) -> Settings:
    """Return what the numbers depend on; a flag wins over the configuration's `defaults`.

    Raises
    ------
    UsageError
        If a value is out of its range or not of its form.
    """
    base = defaults or Settings()
    rtol = base.rtol if options.rtol is None else options.rtol
    if not 0.0 < rtol < 1.0:
        raise UsageError(f"--rtol {rtol:g} is not between 0 and 1", help="try --rtol 1e-6")
    if options.iterations is not None and options.iterations < 1:
        raise UsageError("--iterations must be at least 1", help="leave it out for the default")
    return Settings(
        method=options.method,
        rtol=rtol,
        rtol_given=options.rtol is not None or base.rtol_given,
        conv=options.conv or base.conv,
        seed=options.seed,
        iterations=options.iterations,
        certify=options.certify,
        device=device(options.device),
        input_shapes=base.input_shapes | dict(map(_shape, options.input_shape or ())),
        input_range=dict(map(_range, options.input_range or ())) or base.input_range,
    )


def measures(options: Shared) -> bool:
    """Whether an option was given that changes what is measured, or how."""
    names = (field.name for field in dataclasses.fields(Shared))
    wanted = [name for name in names if name not in _TALK]
    plain = Shared()
    return any(getattr(options, name) != getattr(plain, name) for name in wanted)


def device(name: str) -> str:
    """Return the device to compute on: ``auto`` is the first CUDA device, else the CPU."""
    if name == "cpu":
        return name
    if name not in ("auto", "cuda") and not (
        name.startswith("cuda:") and name.removeprefix("cuda:").isdecimal()
    ):
        raise UsageError(f"--device {name}: not a device", help="cpu, cuda, cuda:N or auto")
    try:
        import torch
    except ImportError:
        if name == "auto":
            return "cpu"
        raise UsageError(
            f"--device {name} needs torch, which is not installed",
            help="pip install 'specaudit[torch]'",
        ) from None
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if available else "cpu"
    index = int(name.removeprefix("cuda:")) if ":" in name else 0
    if index >= available:
        raise UsageError(
            f"--device {name}: torch sees {available} CUDA devices",
            help="--device auto takes one where there is one, and the CPU where not",
        )
    return name


def size_bytes(text: str) -> int:
    """Return a size in bytes: a whole number, with K, M, G or T for powers of 1024."""
    digits, unit = text.rstrip("KMGTkmgt"), text[-1:].upper()
    power = " KMGT".find(unit) if len(digits) == len(text) - 1 else 0
    if not (digits.isascii() and digits.isdecimal()) or power < 0 or len(digits) > 15:
        raise UsageError(f"--max-memory {text}: not a size", help="try --max-memory 8G")
    return int(digits) << (10 * power)


def jobs(text: str) -> int:
    """Return how many layers to measure side by side.

    ``auto`` is one for each core, up to eight: what is small is measured side by side with
    one BLAS thread each, what is large alone with all of them.
    """
    if text == "auto":
        known = sys.platform == "linux"  # a container may have fewer cores than the machine
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        return min(cores, _MOST_JOBS)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--jobs {text}: not a number of jobs", help="try --jobs 2")
    return int(text)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.split("x")
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--input-shape {text}: not of the form NAME=1x3x224x224",
            help="sizes are positive whole numbers joined by x",
        )
    return name, tuple(map(int, parts))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = text.rpartition("=")
    try:
        lower, upper = map(float, ends.split(","))
    except ValueError:
        lower, upper = 1.0, 0.0
    if not lower <= upper or not abs(lower) < float("inf") > abs(upper):
        raise UsageError(
            f"--input-range {text}: not of the form [NAME=]LO,HI with LO <= HI",
            help="for example --input-range 0,1 or --input-range x=-1,1",
        )
    return name, (lower, upper)
