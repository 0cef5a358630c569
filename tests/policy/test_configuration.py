import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specaudit.policy import Gates, Mistakes, Place, parse_policy
from specaudit.policy.places import lines_of

EXAMPLE = r"""
[project]
name = "x"

[tool.specaudit]
rtol = 1e-6
conv = "operator"
input-shapes = { image = [1, 3, 224, 224] }
unproven = "fail"

[tool.specaudit.gates]
max-lipschitz = 25.0          # SA301
unbounded-ops = "forbid"      # SA302: forbid | warn | allow
min-coverage = 1.0            # SA003

[[tool.specaudit.layers]]     # ordered, the last match wins
match = "**"
max-norm = 3.0                # SA201
[[tool.specaudit.layers]]
match = ["head.**", 're:^onnx::MatMul_\d+$']
op = ["Gemm", "MatMul"]
max-norm = 1.0

[[tool.specaudit.allow]]      # silences a finding, never the mathematics
rule = "SA201"
match = "stem.conv"
reason = "frozen stem, bounded downstream"   # mandatory
expires = 2027-03-01
"""


def mistakes(text, path="specaudit.toml"):
    with pytest.raises(Mistakes) as caught:
        parse_policy(text, path)
    assert caught.value.exit_code == 2
    return [(cause.where, cause.message, cause.help) for cause in caught.value.causes]


def test_the_example_of_the_contract():
    policy = parse_policy(EXAMPLE, "pyproject.toml")
    assert (policy.rtol, policy.conv, policy.unproven) == (1e-6, "operator", "fail")
    assert policy.input_shapes == {"image": (1, 3, 224, 224)}
    assert policy.gates == Gates(25.0, "forbid", 1.0)
    assert [entry.max_norm for entry in policy.layers] == [3.0, 1.0]
    assert policy.layers[1].match == ["head.**", r"re:^onnx::MatMul_\d+$"]
    assert policy.allow[0].expires == date(2027, 3, 1)
    numbered = EXAMPLE.splitlines()
    place = policy.place("layers", 1, "max-norm")
    assert numbered[place.line - 1] == "max-norm = 1.0"
    assert policy.place("gates", "max-lipschitz") == Place("pyproject.toml", 12)
    # Where a key is not written, its table is the place.
    assert numbered[policy.place("allow", 0, "nothing").line - 1].startswith("[[tool.specaudit.a")


def test_a_file_of_its_own_needs_no_prefix_and_a_project_file_needs_one():
    text = "[gates]\nmax-lipschitz = 2\n"
    assert parse_policy(text, "specaudit.toml").gates.max_lipschitz == 2.0
    assert parse_policy(text, "sub/pyproject.toml") is None
    assert parse_policy("[tool.ruff]\nx = 1\n", "pyproject.toml") is None
    assert parse_policy("", "specaudit.toml").layers == ()


@pytest.mark.parametrize(
    ("text", "line", "part", "hint"),
    [
        ("\nunprovn = 'fail'", 2, "unknown key `unprovn`", "unproven"),
        ("[gates]\nmax_lipschitz = 1", 2, "unknown key `gates.max_lipschitz`", "max-lipschitz"),
        ("[gates]\nmax-lipschitz = -1", 2, "gates.max-lipschitz", ""),
        ("[gates]\nmax-lipschitz = nan", 2, "gates.max-lipschitz", ""),
        ("[gates]\nmin-coverage = 1.5", 2, "gates.min-coverage", ""),
        ("[gates]\nmax-lipschitz = '3'", 2, "expected a number, got text", ""),
        ("conv = 'operatr'", 1, "operatr", "operator, reshaped"),
        ("[[layers]]\nmatch = '**'", 1, "sets no limit", "max-norm"),
        ("[[layers]]\nmatch = 3\nmax-norm = 1", 2, "layers[0].match", ""),
        ("[[layers]]\nmax-norm = 1\nmatch = ['a',\n 're:(']", 4, "regular expression", ""),
        ("[[layers]]\nmax-norm = 1\nmatch = []", 3, "no pattern", "**"),
        ("layers = 3", 1, "array of tables", "[[layers]]"),
        ("[layers]\nmatch = '**'", 1, "array of tables", "[[layers]]"),
        ("gates = 3", 1, "`gates` is not a table", ""),
        ("[[allow]]\nrule = 'SA201'", 1, "`allow[0].reason` is missing", ""),
        ("[[allow]]\nreason = 'x'", 1, "`allow[0].rule` is missing", ""),
        ("[[allow]]\nrule = 'SA201'\nreason = ' '", 3, "needs a reason", ""),
        ("[[allow]]\nrule = 'SA210'\nreason = 'x'", 2, "no such rule: `SA210`", "did you mean SA"),
        ("[[allow]]\nrule='SA201'\nreason='x'\nexpires='soon'", 4, "allow[0].expires", ""),
        ("select = ['SA777']", 1, "no such rule: `SA777`", ""),
        ("input-range = [1, 0]", 1, "not a range", ""),
        ("input-range = [0, inf]", 1, "not a range", ""),
        ("input-shapes = {x = [0]}", 1, "input-shapes", ""),
        ("rtol = 2", 1, "rtol", ""),
        ("rtol = ", None, "not TOML", ""),
    ],
)
def test_each_mistake_has_its_place(text, line, part, hint):
    ((where, message, help_),) = mistakes(text)
    assert where == ("specaudit.toml" if line is None else f"specaudit.toml:{line}")
    assert part in message
    assert hint in help_


def test_all_mistakes_are_reported_together_in_order():
    text = "a = 1\n[gates]\nb = 2\n[[layers]]\nc = 3\nmax-norm = -1\n[[allow]]\nrule = 'X'\n"
    found = mistakes(text)
    assert [where for where, _, _ in found] == [
        f"specaudit.toml:{line}" for line in (1, 3, 5, 6, 7, 8)
    ]


def test_hostile_keys_and_values_are_only_text():
    key = "\\u001b[31m"
    ((_, message, _),) = mistakes(f'"{key}" = 1')
    assert "unknown key" in message
    assert mistakes("x" * 100_000 + " = 1")
    assert mistakes("a = " + "[" * 5000 + "]" * 5000)


VALUE = st.recursive(
    st.one_of(
        st.integers(-5, 5).map(str),
        st.sampled_from(['"a#]}"', "'''x\n[y]\n'''", '"""\\"""" "', "true", "1979-05-27", "1.5e3"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", # c\n".join(items) + "\n]"),
        st.lists(inner.filter(lambda v: "\n" not in v), max_size=2).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        ),
    ),
    max_leaves=6,
)
HEADER = st.sampled_from(["[t]", "[[u]]", "[u.v]", "[[u.w]]", '["q.r"]', "[t.s]", "# note"])


@given(st.lists(st.tuples(HEADER, st.lists(VALUE, max_size=3))))
def test_every_key_has_a_line_and_the_line_has_the_key(blocks):
    text, count = "", 0
    for header, values in blocks:
        text += f"{header}\n"
        for value in values:
            text += f"key{count} = {value}\n\n"
            count += 1
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines, numbered = lines_of(text), text.splitlines()
    for path, key in _leaves(document):
        line = numbered[lines[path] - 1]
        assert key in line or path.rsplit(".", 1)[-1].isdigit()


def _leaves(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            at = f"{path}.{key}" if path else key
            yield at, key.split(".")[0]
            yield from _leaves(inner, at)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield f"{path}.{index}", ""
            yield from _leaves(inner, f"{path}.{index}")


def test_what_is_missing_or_out_of_range_says_what_it_is_for():
    with pytest.raises(Mistakes) as caught:
        parse_policy("input-shapes = { x = [1, 0] }\n[[allow]]\nrule = 'SA201'\n", "s.toml")
    shape, reason = caught.value.causes
    assert "shape of each input" in shape.help
    assert reason.help.startswith('add `reason = "…"`: why')


@pytest.mark.parametrize("text", ["rtol = " + "9" * 5000, "a" + ".a" * 50_000 + " = 1"])
def test_numbers_and_keys_of_absurd_length_are_mistakes(text: str) -> None:
    with pytest.raises(Mistakes, match="1 mistake"):
        parse_policy(text, "specaudit.toml")
