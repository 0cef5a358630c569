"""The work of ``inspect`` and ``check``: audit every model, print once, return the exit code."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from specaudit import policy
from specaudit.cli import documents, options, talk
from specaudit.cli.options import Shared
from specaudit.errors import SpecauditError, UsageError
from specaudit.formats import files, is_saved_audit
from specaudit.policy import Verdict
from specaudit.report import Measurement, Report, Settings

Pair = tuple[Report, Verdict]
LimitOf = Callable[[Measurement], float | None]


@dataclass(frozen=True)
class Audited:
    """What became of every model named: each audited, or refused with its exit code."""

    reports: tuple[Report, ...]
    refused: tuple[Pair, ...]
    worst: int


def inspect(
    models: Sequence[str],
    shared: Shared,
    *,
    sort: Literal["depth", "norm", "name"],
    top: int | None,
    spectrum: bool,
) -> int:
    """Measure and show; findings are shown too, and change nothing."""
    targets = documents.targets(shared, models)
    audited = audit_all(models, shared, options.settings(shared), spectrum=spectrum)
    verdicts = policy.judge_all(audited.reports)
    pairs = [
        (report, replace(verdict, exit_code=0))
        for report, verdict in zip(audited.reports, verdicts, strict=True)
    ]
    view = documents.view(shared, "inspect", sort, top)
    documents.publish([*pairs, *audited.refused], pairs, shared, view, targets)
    return audited.worst


def audit_all(
    models: Sequence[str],
    shared: Shared,
    settings: Settings,
    *,
    spectrum: bool = False,
    limit_of: LimitOf | None = None,
) -> Audited:
    """Audit each model; an error in one is said and does not keep the others from it."""
    reports: list[Report] = []
    refused: list[Pair] = []
    worst = 0
    for path in models:
        try:
            report = audit_one(path, shared, settings, spectrum=spectrum, limit_of=limit_of)
            reports.append(report)
        except SpecauditError as problem:
            if shared.debug:
                raise
            talk.error(problem)
            refused.append(policy.unreadable(path, problem))
            worst = max(worst, problem.exit_code)
        except MemoryError:
            short = talk.out_of_memory(path)
            refused.append(policy.unreadable(path, short))
            worst = max(worst, short.exit_code)
        except Exception as problem:
            # A bug of ours on one model must not keep the others from being audited.
            if shared.debug:
                raise
            talk.crash(problem)
            refused.append(policy.unreadable(path, SpecauditError("internal error")))
            worst = 4
    return Audited(tuple(reports), tuple(refused), worst)


def audit_one(
    path: str,
    shared: Shared,
    settings: Settings,
    *,
    spectrum: bool = False,
    limit_of: LimitOf | None = None,
) -> Report:
    """Return the report of one model, measured now or read from a saved audit."""
    saved = read_saved(path)
    if saved is not None:
        return saved
    from specaudit import pipeline  # NumPy and the readers, which a saved audit does not need

    jobs = options.jobs(shared.jobs)
    prepared = pipeline.prepare(
        path,
        settings=settings,
        layers=shared.layer or (),
        exclude=shared.exclude or (),
        trust=shared.trust,
    )
    measured = talk.progressing(
        pipeline.measure(prepared, jobs=jobs, spectrum=spectrum, limit_of=limit_of),
        map(pipeline.weight_bytes, prepared.layers),
        os.path.basename(path),
        "never" if shared.quiet else shared.progress,
    )
    return pipeline.compose(prepared, tuple(measured), jobs=jobs)


def read_saved(path: str) -> Report | None:
    """Return the report in a saved audit, or None if the file is something else."""
    if os.path.isdir(path):
        return None
    with files.open_regular(path) as file:
        if not is_saved_audit(file.read(4096)):
            return None
        file.seek(0)
        text = file.read(documents.SAVED_AUDIT_LIMIT + 1)
    if len(text) > documents.SAVED_AUDIT_LIMIT:
        raise UsageError("the saved audit is over 256 MB", where=path)
    from specaudit.outputs import json

    return json.parse(text, where=path)
