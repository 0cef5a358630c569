"""Policy: which findings a report gives rise to, and whether they make a check fail."""

from specaudit.policy.baseline import Baseline
from specaudit.policy.checks import (
    limit_of,
    norm_limit,
    postcondition_missed,
    shared_tensor,
)
from specaudit.policy.configuration import Mistakes, parse_policy
from specaudit.policy.findings import (
    Finding,
    Observed,
    Place,
    Severity,
    Summary,
    Suppression,
    Verdict,
)
from specaudit.policy.judgement import (
    active_rules,
    judge,
    judge_all,
    refuse_idle,
    rules_with_limits,
    unenforced_limits,
    unreadable,
)
from specaudit.policy.patterns import matcher
from specaudit.policy.rules import RULES, Rule
from specaudit.policy.settings import Allowance, Gates, LayerLimit, Policy

__all__ = [
    "RULES",
    "Allowance",
    "Baseline",
    "Finding",
    "Gates",
    "LayerLimit",
    "Mistakes",
    "Observed",
    "Place",
    "Policy",
    "Rule",
    "Severity",
    "Summary",
    "Suppression",
    "Verdict",
    "active_rules",
    "judge",
    "judge_all",
    "limit_of",
    "matcher",
    "norm_limit",
    "parse_policy",
    "postcondition_missed",
    "refuse_idle",
    "rules_with_limits",
    "shared_tensor",
    "unenforced_limits",
    "unreadable",
]
