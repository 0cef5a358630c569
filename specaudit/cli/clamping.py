"""The work of ``clamp``."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from specaudit import rewrite
from specaudit.cli import documents, options, talk
from specaudit.cli.options import Shared
from specaudit.errors import UsageError
from specaudit.outputs import clamp as pages
from specaudit.report import Measurement
from specaudit.rewrite import Request
from specaudit.rewrite.modes import ModeName


@dataclass(frozen=True)
class ClampOptions:
    """What ``clamp`` adds to the shared options."""

    limits: tuple[str, ...] = ()
    max_lipschitz: float | None = None
    out: str | None = None
    mode: ModeName = "scale"
    with_bias: bool = False
    fold_batchnorm: bool = False
    compare: int | None = None
    dry_run: bool = False
    force: bool = False


def clamp(path: str, shared: Shared, asked: ClampOptions) -> int:
    """Clamp one model, compare if that is asked for, print; return the exit code."""
    renderers = pages.RENDERERS
    if shared.format not in renderers:
        raise UsageError(
            f"clamp has no format {shared.format}", help=f"one of {', '.join(renderers)}"
        )
    if asked.out is None and not asked.dry_run:
        raise UsageError("no output is given", help="-o OUT, or --dry-run")
    if shared.arch is not None:
        raise UsageError(
            "clamp works on the weights in the file, without --arch",
            help="inspect or check OUT with --arch",
        )
    if asked.compare is not None and asked.dry_run:
        raise UsageError("--compare runs what was written", help="leave out --dry-run")
    models = [path] if asked.out is None else [path, asked.out]
    targets = documents.targets(shared, models, formats=tuple(renderers))
    request = Request(
        limits=tuple(map(_limit, asked.limits)),
        max_lipschitz=asked.max_lipschitz,
        mode=asked.mode,
        layers=shared.layer or (),
        exclude=shared.exclude or (),
        with_bias=asked.with_bias,
        fold_batchnorm=asked.fold_batchnorm,
        out=None if asked.dry_run else asked.out,
        force=asked.force,
        compare=asked.compare,
    )

    def observe(measured: Iterator[Measurement], sizes: Iterable[int]) -> Iterable[Measurement]:
        when = "never" if shared.quiet else shared.progress
        return talk.progressing(measured, sizes, os.path.basename(path), when)

    done = rewrite.carry_out(
        path,
        request,
        options.settings(shared),
        jobs=options.jobs(shared.jobs),
        trust=shared.trust,
        observe=observe,
    )
    for target in targets:
        documents.write(target, renderers[target.format](done))
    if shared.format == "text":
        documents.print_text(pages.text(done, verbose=shared.verbose))
    else:
        documents.print_text(renderers[shared.format](done))
    return 0


def _limit(text: str) -> tuple[str | None, float]:
    """Return pattern and limit: ``GLOB=F``, or ``F`` for all layers."""
    pattern, separator, number = text.rpartition("=")
    try:
        return pattern if separator else None, float(number)
    except ValueError:
        raise UsageError(
            f"--max {text}: not of the form F or GLOB=F", help="for example --max 'head.*=1.5'"
        ) from None
