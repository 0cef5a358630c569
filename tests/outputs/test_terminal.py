import pytest
from rich.cells import cell_len
from rich.text import Text

from specaudit.outputs.terminal import View, block, render
from specaudit.policy import Policy, judge
from specaudit.report import Measurement, Norm
from tests.outputs.reports import failing, holes, hostile, pairs
from tests.outputs.test_renderers import HOSTILE, UNSAFE, many

PAIRS = pairs()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("command", ["inspect", "check"])
def test_no_line_is_wider_than_the_terminal(width, name, command):
    text = render([PAIRS[name]], View(width=width, command=command))
    assert max(map(cell_len, text.splitlines())) <= width


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("width", [80, 120])
def test_hostile_names_break_no_chart(case, width):
    plain = render([hostile(HOSTILE[case])], View(width=width))
    assert not UNSAFE.search(plain)
    rows = [line for line in plain.splitlines() if line[:2] in ("✘ ", "? ", "✔ ")]
    assert len(rows) == 2
    assert max(map(cell_len, rows)) <= width
    assert not any(line.lstrip().startswith("::") for line in plain.splitlines())


def test_colour_changes_nothing_but_the_colour():
    for pair in PAIRS.values():
        plain = render([pair], View(width=90))
        coloured = render([pair], View(width=90, color=True))
        assert "\x1b[" in coloured
        assert Text.from_ansi(coloured).plain.rstrip("\n") == plain.rstrip("\n")


def test_order_and_number_of_layers():
    pair = PAIRS["failing"]
    names = [layer.name for layer in pair[0].layers]

    def shown(**options):
        text = render([pair], View(command="inspect", **options))
        return [line.split()[1] for line in text.splitlines() if line.startswith("layer ")]

    assert shown() == names
    assert shown(sort="name") == sorted(names)
    assert shown(sort="norm", top=2) == ["block.conv.weight", "stem.conv.weight"]
    text = render([pair], View(sort="norm", top=2))
    assert "3 more layers" in text


def test_an_unknown_norm_sorts_as_the_largest():
    layers = (
        Measurement("a", "linear", (2, 2), "float32", Norm(9.0, 9.0, "certified", "svd")),
        Measurement("b", "linear", (2, 2), "float32", Norm(1.0, None, "unbounded", "svd")),
    )
    from msgspec.structs import replace

    report = replace(failing(), layers=layers)
    text = render([(report, judge(report))], View(sort="norm", top=1))
    assert "layer     b" in text


def test_a_bar_shows_bracket_limit_and_ghost():
    text = render([PAIRS["failing"]], View(width=120))
    row = next(line for line in text.splitlines() if "stem.conv.weight" in line)
    assert "━" in row
    assert "│" in row
    assert "◇" in row
    unbounded = render([PAIRS["holes"]], View(width=120))
    row = next(line for line in unbounded.splitlines() if "big.weight" in line)
    assert row.endswith("┄▶")


def test_spectra_and_notes_are_shown():
    for view in (View(), View(width=80)):
        text = render([PAIRS["clean"]], view)
        assert "σ ≈ 0.99999, 0.8, 0.31" in text  # 0.9999904 to six digits
        assert "0.01 ▂▇█ 1" in text  # 1, 4 and 5 of 5, in eighths rounded up
        assert "condition ≈ 91" in text
        assert "tied with mlp.gate.weight" in render([PAIRS["holes"]], view)


def test_nothing_skipped_is_hidden():
    for view in (View(), View(width=80), View(width=80, verbose=True)):
        text = render([PAIRS["holes"]], view)
        assert "experts.packed" in text
        for reason in ("integer index table", "a table of constants"):
            assert reason in text
    big = many(60)
    assert "bn59.running_mean" in render([big], View())
    assert "bn59.running_mean" in render([big], View(width=80, verbose=True))
    assert "60 × running statistics" in render([big], View(width=80))


def test_many_findings_are_counted_and_listed_on_demand():
    big = many(100)
    assert "13 more findings (-v)" in render([big], View(width=80))  # 33 fail, 20 are shown
    assert render([big], View(width=80, verbose=True)).count("error[SA201]") == 33
    assert render([big], View()).count("error[SA201]") == 33


def test_inspect_names_problems_and_gives_no_verdict():
    for view in (View(command="inspect"), View(width=80, command="inspect")):
        text = render([(holes(), judge(holes(), Policy()).as_remarks())], view)
        assert "SA101" in text
        assert "FAIL" not in text


def test_the_block_of_a_finding():
    _, verdict = PAIRS["failing"]
    finding = next(one for one in verdict.findings if one.counts)
    lines = block(finding, "m.onnx").splitlines()
    assert lines[0] == "error[SA201] layer norm over limit"
    assert lines[1] == "  --> m.onnx › block.conv.weight (/block/Conv)"
    assert "proved > 3" in lines[2]
    assert "specaudit.toml:9" in lines[3]
    assert lines[4].startswith("  help: ")
