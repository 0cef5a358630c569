"""The work of ``explain``."""

from specaudit import policy
from specaudit.cli import audits, documents, gate
from specaudit.cli.options import Shared, settings
from specaudit.outputs import explanations


def explain(what: str, model: str | None, config: str | None) -> int:
    """Print what is known of a subject, or of a layer of a model."""
    if model is None:
        documents.print_text(explanations.explain(what))
        return 0
    rules = gate.find_policy(gate.CheckOptions(config=config))
    report, _ = audits.audit_one(model, Shared(), settings(Shared(), gate.policy_settings(rules)))
    verdict = policy.judge(report, rules)
    text = explanations.explain_layer(report, verdict, rules, what)
    documents.print_text(text)
    return 0
