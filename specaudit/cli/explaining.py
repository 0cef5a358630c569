"""The work of ``explain``."""

from specaudit import policy
from specaudit.cli import audits, documents, gate
from specaudit.cli.options import Shared, settings
from specaudit.outputs import explanations, json


def explain(what: str, model: str | None, config: str | None, shared: Shared) -> int:
    """Print what is known of a subject, or of a layer of a model."""
    text = explanations.explain(what) if model is None else _layer(what, model, config, shared)
    if shared.format == "json" and not text.startswith("{"):  # a schema is JSON already
        head = {"schema": "specaudit.explanation", "schema_version": "1.0"}
        text = json.encode({**head, "what": what, "text": text})
    documents.print_text(text)
    return 0


def _layer(what: str, model: str, config: str | None, shared: Shared) -> str:
    rules = gate.find_policy(gate.CheckOptions(config=config))
    report, _ = audits.audit_one(model, shared, settings(shared, gate.policy_settings(rules)))
    return explanations.explain_layer(report, policy.judge(report, rules), rules, what)
