"""The work of ``check``: find the policy, audit, judge, keep the baseline."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from msgspec.structs import replace

from specaudit import policy
from specaudit.cli import audits, documents, options, talk
from specaudit.cli.options import Shared
from specaudit.errors import ConfigurationError, UsageError
from specaudit.formats import files, writing
from specaudit.outputs import wording
from specaudit.policy import Baseline, Policy
from specaudit.policy.configuration import Mistakes, parse_policy
from specaudit.report import Settings

_CONFIG_LIMIT = 2**20
_BASELINE_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class CheckOptions:
    """What ``check`` adds to the shared options."""

    max_norm: float | None = None
    max_lipschitz: float | None = None
    select: str | None = None
    ignore: str | None = None
    config: str | None = None
    unproven: Literal["fail", "warn", "pass"] | None = None
    baseline: str | None = None
    write_baseline: bool = False
    exit_zero: bool = False


def check(models: Sequence[str], shared: Shared, asked: CheckOptions) -> int:
    """Judge every model by the policy; return the exit code."""
    try:
        rules = find_policy(asked)
    except Mistakes as mistakes:
        for cause in mistakes.causes:
            talk.error(cause)
        return mistakes.exit_code
    baseline_path = _baseline_path(rules, asked)
    chosen = asked.select is not None or asked.ignore is not None
    policy.refuse_idle(rules, has_baseline=baseline_path is not None, chosen=chosen)
    if not shared.quiet:
        say_unenforced(rules)
    targets = documents.targets(shared, models)
    baseline = None
    if baseline_path is not None and not asked.write_baseline:
        baseline = Baseline.parse(read_text(baseline_path, _BASELINE_LIMIT), baseline_path)
    settings = options.settings(shared, policy_settings(rules))
    audited = audits.audit_all(
        models,
        shared,
        settings,
        spectrum=wants_spectrum(rules),
        limit_of=partial(policy.norm_limit, policy=rules),
    )
    verdicts = policy.judge_all(
        audited.reports, rules, today=datetime.now(UTC).date(), baseline=baseline
    )
    if asked.exit_zero:
        verdicts = tuple(replace(verdict, exit_code=0) for verdict in verdicts)
    pairs = list(zip(audited.reports, verdicts, strict=True))
    view = documents.view(shared, "check")
    documents.publish(audited.in_order(pairs), shared, view, targets)
    if baseline_path is not None:
        keep_baseline(baseline_path, baseline, pairs, shared, policy.rules_with_limits(rules))
    return max([audited.worst, *(verdict.exit_code for verdict in verdicts)])


def find_policy(asked: CheckOptions) -> Policy:
    """Return the policy of the file, the nearest upwards if none is named, under the flags."""
    for flag, limit in (("--max-norm", asked.max_norm), ("--max-lipschitz", asked.max_lipschitz)):
        if limit is not None and not 0.0 <= limit < math.inf:
            raise UsageError(f"{flag} {limit:g} is not a limit", help="a number, 0 or more")
    found = Policy()
    if asked.config is not None:
        parsed = parse_policy(read_text(asked.config, _CONFIG_LIMIT), asked.config)
        if parsed is None:
            raise ConfigurationError(
                "no [tool.specaudit] in the file", where=asked.config, help="add the table"
            )
        found = parsed
    else:
        found = nearest_policy(os.getcwd()) or found
    return found.with_flags(
        max_norm=asked.max_norm,
        max_lipschitz=asked.max_lipschitz,
        select=_codes(asked.select),
        ignore=_codes(asked.ignore),
        unproven=asked.unproven,
    )


def say_unenforced(rules: Policy) -> None:
    """Say which limits `select` and `ignore` leave out."""
    for name, code, place in policy.unenforced_limits(rules):
        where = f" ({wording.place_text(place)})" if place else ""
        talk.remark(f"note: `{name}`{where} is not enforced: {code} is left out")


def nearest_policy(folder: str) -> Policy | None:
    """Return the policy of the first folder upwards that has one."""
    while True:
        for name in ("specaudit.toml", "pyproject.toml"):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                parsed = parse_policy(read_text(path, _CONFIG_LIMIT), _short(path))
                if parsed is not None:
                    return parsed
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def policy_settings(rules: Policy) -> Settings:
    """Return the settings that the policy file sets, which flags then override."""
    base = Settings()
    given = rules.input_range
    ranges = given if given is None or isinstance(given, dict) else {"": given}
    return replace(
        base,
        method=rules.method or base.method,
        rtol=rules.rtol or base.rtol,
        rtol_given=rules.rtol is not None,
        conv=rules.conv or base.conv,
        seed=base.seed if rules.seed is None else rules.seed,
        input_shapes=rules.input_shapes,
        input_range=ranges,
    )


def wants_spectrum(rules: Policy) -> bool:
    """Return whether a rule needs all singular values (a limit on condition numbers)."""
    return any(entry.max_condition is not None for entry in rules.layers)


def keep_baseline(
    path: str,
    old: Baseline | None,
    pairs: Sequence[audits.Pair],
    shared: Shared,
    enforced: frozenset[str],
) -> None:
    """Write the baseline that was asked for, or the old one without what is mended."""
    folder = os.path.dirname(path)
    new = Baseline.of(pairs, folder) if old is None else old.shrunk(pairs, enforced=enforced)
    if new == old:
        return
    with writing.replacing(path, force=True) as file:
        file.write(new.render().encode())
    if not shared.quiet:
        count = len(new.findings)
        verb = "recorded in" if old is None else "left in"
        talk.remark(f"{count} finding{'' if count == 1 else 's'} {verb} {path}")


def read_text(path: str, limit: int) -> str:
    """Return the text of a small file of the user's own."""
    with files.open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(
            f"the file is over {limit // 2**20} MB", where=path, help="is it the right one?"
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(
            "the file is not UTF-8 text", where=path, help="save it as UTF-8"
        ) from None


def _baseline_path(rules: Policy, asked: CheckOptions) -> str | None:
    if asked.baseline is not None:
        return asked.baseline
    if rules.baseline is not None:
        return os.path.join(os.path.dirname(rules.path), rules.baseline)
    if asked.write_baseline:
        raise UsageError(
            "--write-baseline needs a path", help="add --baseline PATH, or `baseline` to the policy"
        )
    return None


def _codes(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    codes = tuple(code.strip() for code in text.split(",") if code.strip())
    if not codes:  # an unset variable in a script must not switch off every rule
        raise UsageError(
            f"{text!r} names no rule", help="`specaudit explain rules` lists them; leave it out"
        )
    return codes


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
