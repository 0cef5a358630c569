"""The findings a project starts from: known ones pass, new and worse ones do not."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from specaudit.errors import ConfigurationError
from specaudit.policy import figures
from specaudit.policy.findings import Finding, Observed, Suppression, Verdict, fingerprinted
from specaudit.report import LEFT_OUT, Report

_VERSION = "2.0"


class Known(msgspec.Struct, frozen=True):
    """A finding as it stood when the baseline was written.

    `model` is the path of the model from the baseline's folder, with forward slashes: the
    same in every checkout of a repository, and another for each of two models of one name.
    """

    fingerprint: str
    model: str
    rule: str
    subject: str
    observed: Observed | None = None


class _File(msgspec.Struct, tag_field="schema", tag="specaudit.baseline"):
    schema_version: str
    findings: tuple[Known, ...]


class Baseline(msgspec.Struct, frozen=True):
    """Findings by model and fingerprint.

    Parameters
    ----------
    findings : tuple of Known
    folder : str
        Where the baseline is kept: paths of models are taken from there.

    Notes
    -----
    `shrunk` only ever removes and tightens, so that what was mended stays mended; only
    `of`, which a person asks for, takes new findings in.
    """

    findings: tuple[Known, ...] = ()
    folder: str = ""

    @classmethod
    def of(cls, pairs: Iterable[tuple[Report, Verdict]], folder: str = "") -> "Baseline":
        """Return the baseline that accepts everything found, allowances aside."""
        known = {
            _key(entry): entry
            for report, verdict in pairs
            for entry in _entries(report, verdict, folder)
        }
        order = sorted(
            known.values(), key=lambda one: (one.model, one.rule, one.subject, *_key(one))
        )
        return cls(tuple(order), folder)

    @classmethod
    def parse(cls, text: str | bytes, path: str = "") -> "Baseline":
        """Read a baseline; raises `ConfigurationError`."""
        try:
            file = msgspec.json.decode(text, type=_File)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConfigurationError(
                f"not a baseline: {error}",
                where=path,
                help="write it anew with --write-baseline",
            ) from None
        version = file.schema_version.split(".")[0]
        if version == "1":  # one model's entry would silence another's of the same name
            raise ConfigurationError(
                "the baseline is of an older form, which tells models apart by file name alone",
                where=path,
                help="look at the findings, and write it anew with --write-baseline",
            )
        if version != _VERSION.split(".")[0]:
            raise ConfigurationError(
                "the baseline is of a newer version",
                where=path,
                help="upgrade specaudit, or write it anew with --write-baseline",
            )
        return cls(file.findings, os.path.dirname(path))

    def render(self) -> str:
        """Return the file's text, one finding a few lines, so that its changes read well."""
        encoded = msgspec.json.format(msgspec.json.encode(_File(_VERSION, self.findings)), indent=2)
        return encoded.decode() + "\n"

    def applied(
        self, report: Report, findings: list[Finding], *, regressions: bool = True
    ) -> list[Finding]:
        """Return the findings with the known ones allowed, and one more for each that is worse."""
        model = _path_from(self.folder, report)
        known = {entry.fingerprint: entry for entry in self.findings if entry.model == model}
        result: list[Finding] = []
        worse: list[Finding] = []
        for finding in findings:
            entry = known.get(finding.fingerprint)
            if entry is None or finding.allowed is not None:
                result.append(finding)
                continue
            regression = _regression(finding, entry)
            if regression is not None and not regressions:
                result.append(finding)
                continue
            result.append(replace(finding, allowed=Suppression("baseline", "in the baseline")))
            if regression is not None:
                worse.append(regression)
        return result + fingerprinted(report, worse)

    def shrunk(
        self, pairs: Sequence[tuple[Report, Verdict]], *, enforced: Collection[str]
    ) -> "Baseline":
        """Return the baseline without what is mended, and with what got better tightened.

        Entries that nobody looked at now are kept: of other models, of layers that were left
        out, of rules that are not `enforced` or have no limit for the layer.
        """
        current = {_key(known): known for known in Baseline.of(pairs, self.folder).findings}
        audited = [(_path_from(self.folder, report), report, verdict) for report, verdict in pairs]
        kept = []
        for entry in self.findings:
            now = current.get(_key(entry))
            if now is not None:
                kept.append(replace(entry, observed=_tighter(entry.observed, now.observed)))
            elif entry.rule not in enforced or not any(
                model == entry.model and _examined(entry, report, verdict)
                for model, report, verdict in audited
            ):
                kept.append(entry)
        return Baseline(tuple(kept), self.folder)


def _examined(entry: Known, report: Report, verdict: Verdict) -> bool:
    """Whether an audit of the entry's model would have found it, were it still so."""
    if any(_text(one.name) == entry.subject and one.reason == LEFT_OUT for one in report.skipped):
        return False
    limits = [
        limit
        for layer, limit in zip(report.layers, verdict.limits, strict=False)
        if _text(layer.name) == entry.subject
    ]
    # Of a layer that is gone there is nothing left to mend.
    return entry.rule != "SA201" or not limits or any(limit is not None for limit in limits)


def _belongs(finding: Finding) -> bool:
    if finding.rule == "SA401":
        return False  # stands beside the finding that it is about
    return finding.allowed is None or finding.allowed.kind == "baseline"


def _entries(report: Report, verdict: Verdict, folder: str) -> Iterator[Known]:
    model = _path_from(folder, report)
    for finding in filter(_belongs, verdict.findings):
        subject = _text(finding.subject)
        yield Known(finding.fingerprint, model, finding.rule, subject, finding.observed)


def _key(entry: Known) -> tuple[str, str]:
    return entry.model, entry.fingerprint


def _path_from(folder: str, report: Report) -> str:
    """Return the path of a model from a folder; links are not followed."""
    path = report.model.path
    try:
        path = os.path.relpath(path, folder or os.curdir)
    except ValueError:  # another drive
        path = os.path.abspath(path)
    return _text(path.replace(os.sep, "/"))


def _text(name: str) -> str:
    # A name that is not Unicode would not be JSON; the fingerprint is what decides.
    return name.encode("utf-8", "backslashreplace").decode()


def _regression(finding: Finding, known: Known) -> Finding | None:
    old, new = known.observed, finding.observed
    if old is None or new is None or old.upper is None:
        return None
    was = figures.interval(old.lower, old.upper)
    if new.lower is not None and new.lower > old.upper:
        now = figures.interval(new.lower, new.upper, old.upper)
        message = f"{finding.rule} became worse: {now}, was {was}"
        return replace(
            finding,
            rule="SA401",
            verdict="fail",
            message=message,
            limit=old.upper,
            severity="error",
        )
    if new.upper is None:
        message = f"{finding.rule} lost its finite bound, which was {was}"
        return replace(finding, rule="SA401", verdict="unproven", message=message, limit=old.upper)
    return None


def _tighter(old: Observed | None, new: Observed | None) -> Observed | None:
    if new is None or new.upper is None:
        return old
    if old is None or old.upper is None or new.upper < old.upper:
        return new
    return old
