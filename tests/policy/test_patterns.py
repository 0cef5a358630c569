import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcmatch import glob

from specaudit.errors import ConfigurationError
from specaudit.policy.patterns import any_matcher, matcher

FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX
SEGMENT = st.text("ab", min_size=1, max_size=3)
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join)
PATTERN = st.lists(st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=3)), min_size=1)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("**", "", True),
        ("**", "any\nthing.at.all", True),
        ("*", "a.b", False),
        ("head.**", "head.fc.weight", True),
        ("head.**", "header.fc", False),
        ("/conv*/Conv", "/conv1/Conv", True),
        ("onnx::*", "onnx::MatMul_1", True),
        ("[[]x]", "[x]", True),
        ("[!a]b", "cb", True),
        ("[!a]b", "ab", False),
        ("[a-c]1", "b1", True),
        ("[", "[", True),
        (r"re:^onnx::MatMul_\d+$", "onnx::MatMul_12", True),
        (r"re:^onnx::MatMul_\d+$", "onnx::MatMul_12b", False),
        ("re:fc", "head.fc.weight", True),
        ("a+b", "a+b", True),
        ("a+b", "aab", False),
        ("(a|b)", "a", False),
    ],
)
def test_examples(pattern, name, expected):
    assert matcher(pattern)(name) is expected


@given(PATTERN, NAME)
def test_agrees_with_wcmatch_where_it_means_the_same(segments, name):
    # wcmatch gives ** its meaning only where it is a whole segment, and separates by slashes.
    segments = ["*" if "**" in part and part != "**" else part for part in segments]
    pattern = ".".join(segments)
    if pattern.endswith(".**"):  # a/** matches the folder a/ itself in wcmatch, written so
        pattern += ".*"
    expected = glob.globmatch(name.replace(".", "/"), pattern.replace(".", "/"), flags=FLAGS)
    assert matcher(pattern)(name) == expected


@given(st.text())
def test_a_name_matches_itself_when_quoted(name):
    quoted = "".join(f"[{c}]" if c in "*?[" else c for c in name)
    if name and not name.startswith("re:") and len(quoted) <= 1000:
        assert matcher(quoted)(name)


def test_time_is_linear_in_hostile_names():
    match = matcher("**a" * 200 + "**b")
    short, long = "a" * 1000, "a" * 10_000
    match(short)
    start = time.perf_counter()
    assert not match(long)
    # A backtracking matcher takes longer than the age of the universe for this.
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("pattern", ["", "re:", "re:(", "x" * 1001, "[z-a]", "re:" + "(" * 500])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ConfigurationError):
        matcher(pattern)


def test_any_of_none_matches_nothing():
    assert not any_matcher(())("a")
    assert any_matcher(("b", "a"))("a")
