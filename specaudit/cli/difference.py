"""The work of ``diff``."""

from specaudit.cli import audits, documents, options
from specaudit.cli.options import Shared
from specaudit.compare import compare
from specaudit.errors import UsageError
from specaudit.outputs import differences


def diff(
    before: str, after: str, shared: Shared, tolerance: float, fail_on_regression: bool
) -> int:
    """Audit both, compare, print; return the exit code."""
    if not 0.0 <= tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance:g} is not 0 or more", help="try 0.01")
    renderers = differences.RENDERERS
    targets = documents.targets(shared, (before, after), formats=tuple(renderers))
    audited = audits.audit_all((before, after), shared, options.settings(shared))
    if audited.worst:
        return audited.worst
    first, second = audited.reports
    comparison = compare(first, second, tolerance)
    for target in targets:
        documents.write(target, renderers[target.format](comparison))
    if shared.format == "text":
        documents.print_text(differences.text(comparison, verbose=shared.verbose))
    else:
        documents.print_text(renderers[shared.format](comparison))
    return int(fail_on_regression and comparison.regressed)
