"""The work of ``inspect`` and ``check``: audit every model, print once, return the exit code."""

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from specaudit import limits, policy
from specaudit.cli import documents, options, talk, witnessing
from specaudit.cli.options import Shared
from specaudit.errors import SpecauditError, UsageError
from specaudit.formats import files, is_saved_audit
from specaudit.policy import Verdict
from specaudit.report import Measurement, Report, Settings

Pair = tuple[Report, Verdict]
LimitOf = Callable[[Measurement], float | None]


@dataclass(frozen=True)
class Audited:
    """What became of every model named: each audited, or refused with its exit code.

    `refused` is by the place in the call; `reports` are those of the others, in order.
    """

    reports: tuple[Report, ...]
    refused: Mapping[int, Pair]
    worst: int

    def in_order(self, judged: Sequence[Pair]) -> list[Pair]:
        """Return the pair of every model, the refused ones too, in the order of the call."""
        rest = iter(judged)
        places = range(len(judged) + len(self.refused))
        return [self.refused.get(place) or next(rest) for place in places]


def inspect(
    models: Sequence[str],
    shared: Shared,
    *,
    sort: Literal["depth", "norm", "name"],
    top: int | None,
    spectrum: bool,
    witness: str | None = None,
) -> int:
    """Measure and show; findings are shown too, and change nothing."""
    targets = documents.targets(shared, models)
    names = {shared.format, *(target.format for target in targets)} - {"text"}
    if (top is not None or sort != "depth") and names and not shared.quiet:
        talk.remark(f"note: --sort and --top are for text; {', '.join(sorted(names))}: all layers")
    if witness is not None:
        witnessing.check_target(witness, models)
    settings = options.settings(shared)
    audited = audit_all(models, shared, settings, spectrum=spectrum, witness=witness)
    verdicts = policy.judge_all(audited.reports)
    pairs = [
        (report, verdict.as_remarks())
        for report, verdict in zip(audited.reports, verdicts, strict=True)
    ]
    view = documents.view(shared, "inspect", sort, top)
    documents.publish(audited.in_order(pairs), shared, view, targets)
    return audited.worst


def audit_all(
    models: Sequence[str],
    shared: Shared,
    settings: Settings,
    *,
    spectrum: bool = False,
    limit_of: LimitOf | None = None,
    witness: str | None = None,
) -> Audited:
    """Audit each model; an error in one is said and does not keep the others from it."""
    reports: list[Report] = []
    refused: dict[int, Pair] = {}
    worst = 0
    for place, path in enumerate(models):
        try:
            report, code = audit_one(
                path, shared, settings, spectrum=spectrum, limit_of=limit_of, witness=witness
            )
            reports.append(report)
            worst = max(worst, code)
        except SpecauditError as problem:
            if shared.debug:
                traceback.print_exc()
            talk.error(problem)
            refused[place] = policy.unreadable(path, problem)
            worst = max(worst, problem.exit_code)
        except MemoryError:
            short = talk.out_of_memory(path)
            refused[place] = policy.unreadable(path, short)
            worst = max(worst, short.exit_code)
        except Exception as problem:
            # A bug of ours on one model must not keep the others from being audited.
            if shared.debug:
                traceback.print_exc()
            talk.crash(problem)
            refused[place] = policy.unreadable(path, SpecauditError("internal error"))
            worst = 4
    return Audited(tuple(reports), refused, worst)


def audit_one(
    path: str,
    shared: Shared,
    settings: Settings,
    *,
    spectrum: bool = False,
    limit_of: LimitOf | None = None,
    witness: str | None = None,
) -> tuple[Report, int]:
    """Return the report of one model, measured now or read from a saved audit; and a code.

    The code is 0 unless a witness was asked for (`witness` is its file) and there is none.
    """
    saved = read_saved(path)
    if saved is not None:
        if witness is not None:
            raise UsageError("a saved audit holds no network to search", where=path)
        if options.measures(shared) and not shared.quiet:
            talk.remark(f"note: {path} is a saved audit: options of measuring do not change it")
        return saved, 0
    from specaudit import measuring, pipeline  # NumPy and readers, which a saved audit needs not

    jobs = options.jobs(shared.jobs)
    if shared.arch is not None:
        talk.remark(f"--arch: {shared.arch} is imported and run, with all that it imports")
    try:
        prepared = pipeline.prepare(
            path,
            settings=settings,
            layers=shared.layer or (),
            exclude=shared.exclude or (),
            trust=shared.trust,
            arch=shared.arch,
        )
    except UsageError as problem:
        problem.where = problem.where or path  # of several models, which one it is
        raise
    given = settings.input_shapes or settings.input_range
    if given and prepared.extraction.resolved is None and not shared.quiet:
        talk.remark(f"note: {path} holds no graph: input shapes and ranges change nothing")
    measured = talk.progressing(
        pipeline.measure(prepared, jobs=jobs, spectrum=spectrum, limit_of=limit_of),
        map(measuring.weight_bytes, prepared.layers),
        os.path.basename(path),
        "never" if shared.quiet else shared.progress,
    )
    measurements = tuple(measured)
    found, code = witnessing.search(prepared, witness) if witness is not None else (None, 0)
    return pipeline.compose(prepared, measurements, jobs=jobs, found=found), code


def read_saved(path: str) -> Report | None:
    """Return the report in a saved audit, or None if the file is something else."""
    if os.path.isdir(path):
        return None
    with files.open_regular(path) as file:
        if not is_saved_audit(file.read(4096)):
            return None
        file.seek(0)
        longest = limits.scaled(limits.AUDIT_BYTES)
        text = file.read(longest + 1)
    if len(text) > longest:
        reason = f"the saved audit is over {longest >> 20} MiB"
        raise UsageError(reason, where=path, help=limits.RAISE)
    from specaudit.outputs import json

    return json.parse(text, where=path)
