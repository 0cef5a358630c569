import pytest

from specaudit.errors import SpecauditError, UsageError
from specaudit.lipschitz.rules import TABLE
from specaudit.outputs.explanations import EXIT_CODES, SUBJECTS, explain, explain_layer
from specaudit.policy import RULES
from tests.outputs.reports import POLICY, pairs


@pytest.mark.parametrize("word", [*RULES, *SUBJECTS, "sa201", "Exit Codes", "softmax", "max_norm"])
def test_there_is_a_text(word):
    text = explain(word)
    assert text.endswith("\n")
    assert len(text) > 60


def test_the_texts_are_those_of_the_tables():
    for code, rule in RULES.items():
        flat = " ".join(explain(code).split())
        assert " ".join(rule.explanation.split()) in flat
        assert " ".join(rule.remedy.split()) in flat
        assert f"{code}  {rule.title}" in explain("rules")
    for domain, op in TABLE:
        assert op in explain(f"{domain}.{op}" if domain else op)
        assert op in explain("ops")
    config = explain("config")
    for key in ("max-lipschitz", "unbounded-ops", "max-norm", "reason", "expires", "unproven"):
        assert key in config
    assert "path" not in [line.split()[0] for line in config.splitlines() if line.startswith("  ")]


def test_a_key_of_the_configuration_is_explained():
    assert "[[tool.specaudit.layers]]" in explain("max-norm")
    assert "[tool.specaudit.gates]" in explain("max-lipschitz")
    assert explain("match").count("match: in") == 2
    both = explain("conv")  # the key, and the operation
    assert "as --conv" in both
    assert "Conv: Lipschitz constant" in both
    with pytest.raises(UsageError) as caught:
        explain("max-nrom")
    assert caught.value.help == "did you mean max-norm?"


def test_every_document_has_its_schema():
    for name in ("audit", "clamp", "diff"):
        text = explain("schema" if name == "audit" else f"schema-{name}")
        assert f'"specaudit.{name} 1.0"' in text


def test_every_exit_code_of_an_error_is_explained():
    def below(kind):
        return {kind.exit_code}.union(*map(below, kind.__subclasses__()))

    assert below(SpecauditError) <= set(EXIT_CODES)


def test_what_is_not_known_is_suggested():
    with pytest.raises(UsageError) as caught:
        explain("Sofmax\x1b[31m")
    assert "\x1b" not in caught.value.message
    with pytest.raises(UsageError) as caught:
        explain("SA20l")
    assert "SA20" in caught.value.help


def test_a_layer_is_explained_by_the_line_that_won():
    report, verdict = pairs()["failing"]
    text = explain_layer(report, verdict, POLICY, "head.fc.weight")
    assert "limit 1" in text
    assert "specaudit.toml:13" in text
    assert "is on the path" in text
    assert "SA201" in text
    with pytest.raises(UsageError, match="no layer"):
        explain_layer(report, verdict, POLICY, "head.fc.wieght")
