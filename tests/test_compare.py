import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from specaudit.compare import STATUSES, compare
from specaudit.outputs import differences
from specaudit.report import NetworkBound
from tests.outputs import schemas
from tests.outputs.reports import clean, failing, hostile, layer
from tests.outputs.test_renderers import HOSTILE, UNSAFE, assert_described, many, strict


def report(*layers):
    return replace(clean(), layers=layers, network=NetworkBound.not_computed("none"))


def status(old, new, tolerance=0.01):
    (change,) = compare(report(old), report(new), tolerance).changes
    return change.status


UP = math.inf


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((1.0, 1.0), (1.0, 1.0), "unchanged"),
        ((1.0, 1.001), (1.002, 1.003), "unchanged"),
        ((1.0, 1.0), (1.009, 1.009), "unchanged"),
        ((1.0, 1.0), (1.02, 1.03), "regressed"),
        ((1.0, 1.0), (1.0, 1.5), "unclear"),
        ((1.0, 1.5), (1.4, 1.6), "unclear"),
        ((1.0, 1.1), (0.5, 0.6), "improved"),
        ((1.0, 1.0), (1.0, None), "lost"),
        ((1.0, 1.0), (2.0, None), "regressed"),
        ((1.0, None), (1.0, 1.1), "unclear"),
        ((5.0, None), (1.0, 1.1), "improved"),
        ((0.0, 0.0), (0.0, 0.0), "unchanged"),
        ((0.0, 0.0), (1e-300, 1e-300), "regressed"),
    ],
)
def test_only_what_is_proved(old, new, expected):
    def one(ends):
        return layer("w", *ends, "certified" if ends[1] is not None else "unbounded")

    assert status(one(old), one(new)) == expected


def test_a_weight_that_is_no_longer_finite_is_a_regression():
    broken = layer("w", None, None, "non_finite")
    assert status(layer("w", 1.0, 1.0), broken) == "regressed"
    assert status(broken, broken) == "unchanged"


ENDS = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(sorted)
INSIDE = st.floats(0, 1)


@given(ENDS, ENDS, INSIDE, INSIDE, st.floats(0, 1))
def test_what_is_claimed_holds_for_all_numbers_inside(old, new, first, second, tolerance):
    a = min(max(old[0] + first * (old[1] - old[0]), old[0]), old[1])
    b = min(max(new[0] + second * (new[1] - new[0]), new[0]), new[1])
    found = status(layer("w", *old), layer("w", *new), tolerance)
    from fractions import Fraction

    a, b, factor = Fraction(a), Fraction(b), 1 + Fraction(tolerance)
    if found == "regressed":
        assert b > a * factor
    elif found == "improved":
        assert a > b * factor
    elif found == "unchanged" and old != new:
        assert b <= a * factor
        assert a <= b * factor


@given(ENDS, st.floats(1.0001, 100), st.floats(0, 0.5))
def test_a_clear_change_is_seen(old, factor, tolerance):
    shift = old[1] * (1 + tolerance) * factor
    if shift > 1e-300:  # subnormal steps are coarser than the factor
        assert status(layer("w", *old), layer("w", shift, shift), tolerance) == "regressed"


def test_layers_are_matched_by_name_then_node_then_position():
    old = report(
        layer("a", 1.0, 1.0, node="n1"),
        layer("a", 2.0, 2.0, node="n2"),
        layer("b", 3.0, 3.0, shape=(5, 5)),
        layer("c", 4.0, 4.0, shape=(5, 5)),
        layer("gone", 9.0, 9.0, shape=(9, 9)),
    )
    new = report(
        layer("x", 3.0, 3.0, shape=(5, 5)),
        layer("y", 4.0, 4.0, shape=(5, 5)),
        layer("a", 2.0, 2.0, node="n2"),
        layer("a", 1.0, 1.0, node="renamed"),
        layer("new", 1.0, 1.0, shape=(7, 7)),
    )
    comparison = compare(old, new)
    assert [change.status for change in comparison.changes] == [
        *["unchanged"] * 4,
        "added",
        "removed",
    ]
    assert [change.matched for change in comparison.changes] == [
        "position",
        "position",
        "name",
        "name",
        "",
        "",
    ]
    assert sum(comparison.summary().values()) == 6


def test_the_network_regresses_by_its_witness():
    old, new = failing(), replace(failing(), network=replace(failing().network, lower=200.0))
    assert compare(old, new).network == "regressed"
    assert compare(old, new).regressed
    assert not compare(new, old).regressed
    lost = replace(old, network=NetworkBound("unbounded"))
    assert compare(old, lost).network == "lost"


def test_big_models_are_grouped():
    old = many(1000)[0]
    comparison = compare(old, replace(old, layers=old.layers[:-100]))
    groups = comparison.groups()
    assert list(groups) == [f"backbone.stage{index}" for index in range(10)]
    assert sum(map(len, groups.values())) == 1000
    text = differences.text(comparison)
    assert "backbone.stage9: 100 removed" in text
    assert len(text.splitlines()) < 40
    assert len(differences.text(comparison, verbose=True).splitlines()) > 1000


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_names_are_only_text(case):
    comparison = compare(hostile(HOSTILE[case])[0], clean())
    for name, render in differences.RENDERERS.items():
        text = render(comparison)
        assert not UNSAFE.search(text), name
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    document = strict(differences.as_json(comparison))
    schema = json.loads((schemas.FOLDER / "diff.schema.json").read_text("utf-8"))
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert_described(document, schema, schema)


def test_nothing_unproved_is_green():
    lost = compare(report(layer("w", 1.0, 1.0)), report(layer("w", 1.0, None, "unbounded")))
    assert "✅" not in differences.as_markdown(lost)
    assert 'class="banner unproven"' in differences.as_html(lost)
    assert "✅" in differences.as_markdown(compare(clean(), clean()))
    assert set(compare(clean(), clean()).summary()) == set(STATUSES)
