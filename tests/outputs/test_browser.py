import pytest
from msgspec.structs import replace

from specaudit.compare import compare
from specaudit.outputs import differences, html
from tests.outputs import browser
from tests.outputs.reports import clean, failing, hostile, pairs
from tests.outputs.test_renderers import HOSTILE, many

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.EXECUTABLE is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    texts = {name: html.render([pair]) for name, pair in pairs().items()}
    texts["several"] = html.render(list(pairs().values()))
    texts["many"] = html.render([many(300)])
    texts["diff"] = differences.as_html(compare(clean(), failing()))
    texts |= {f"hostile {case}": html.render([hostile(name)]) for case, name in HOSTILE.items()}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def page():
    with browser.browser() as opened:
        yield opened


LUMINANCE = """
(() => {
  const channel = (value) => (value /= 255) <= 0.03928
    ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (color) => { const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const ground = (one) => { for (; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (!/, 0\\)|transparent/.test(color)) return color; } return "rgb(255,255,255)"; };
  let worst = 99;
  const texts = "p, td, th, h1, h2, code, li, dt, dd, summary, .mark, .pill, footer";
  for (const one of [...document.querySelectorAll(texts)].slice(0, 400)) {
    if (!one.textContent.trim() || !one.getClientRects().length) continue;
    const a = light(getComputedStyle(one).color), b = light(ground(one));
    worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return worst;
})()
"""


@pytest.mark.parametrize("name", ["clean", "failing", "holes", "several", "diff"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_shown_without_complaint(page, pages, name, width, dark):
    page.open(pages[name], width=width, dark=dark)
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
    assert page.evaluate(LUMINANCE) >= 4.5  # WCAG 2.2, 1.4.3
    assert len(page.screenshot()) > 10_000


ROWS = "[...document.querySelectorAll('table:not(.plain) tbody tr')]"


def column(place):
    return f"{ROWS}.map((row) => row.cells[{place}].textContent)"


def boxes(selector, side):
    found = f"[...document.querySelectorAll('{selector}')]"
    return f"{found}.map((one) => one.getBoundingClientRect().{side})"


def test_sorting_by_keyboard(page, pages):
    page.open(pages["failing"])
    before = page.evaluate(column(1))
    page.evaluate("document.querySelectorAll('thead button')[5].focus()")
    states = []
    orders = []
    for _ in range(3):
        page.press("Enter", 13, "\r")
        states.append(page.evaluate("document.querySelectorAll('thead th')[5].ariaSort"))
        orders.append([float(text) for text in page.evaluate(column(5))])
    assert states == ["descending", "ascending", None]
    assert orders[0] == sorted(orders[0], reverse=True)
    assert orders[1] == sorted(orders[1])
    assert page.evaluate(column(1)) == before
    page.evaluate("document.querySelectorAll('thead button')[0].focus()")
    page.press(" ", 32, " ")
    assert page.evaluate(column(0)) == ["✘", "?", "?", "○", "✔"]
    assert page.complaints() == []


def test_what_is_not_known_sorts_as_infinite(page, pages):
    page.open(pages["holes"])
    page.evaluate("document.querySelectorAll('thead button')[5].click()")
    top = page.evaluate(column(5))[:3]
    assert set(top) == {"∞", "NaN", "~8.41001"}


def test_the_filter(page, pages):
    page.open(pages["many"], width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.complaints() == []
    shown = "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetHeight).length"
    assert page.evaluate(shown) == 300
    page.evaluate("document.querySelector('[type=search]').focus()")
    page.call("Input.insertText", text="STAGE1.")
    assert page.evaluate(shown) == 100
    page.evaluate("document.querySelector('[type=checkbox]').click()")
    assert page.evaluate(shown) == 33


def test_without_script_everything_is_there(page, pages):
    page.open(pages["failing"], script=False)
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.evaluate("document.querySelectorAll('tbody tr').length") == 5
    assert page.evaluate("getComputedStyle(document.querySelector('.tools')).display") == "none"
    assert page.evaluate("document.querySelector('tbody details').open") is False


def test_the_policy_is_in_force(page, pages):
    page.open(pages["failing"])
    page.evaluate(
        """{
        const script = document.createElement("script");
        script.textContent = "window.owned = 1";
        document.body.append(script);
        document.body.setAttribute("style", "color: rgb(1, 2, 3)");
        const image = document.createElement("img");
        image.src = "https://example.invalid/x.png";
        document.body.append(image);
        }"""
    )
    assert page.evaluate("window.owned") is None
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(1, 2, 3)"
    told = "\n".join(page.complaints())
    for directive in ("script-src", "style-src", "img-src"):
        assert directive in told or f"'{directive}" in told


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_names_do_nothing(page, pages, case):
    page.open(pages[f"hostile {case}"], width=400)
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("document.scripts.length") == 2
    layers = page.evaluate(
        "JSON.parse(document.getElementById('document').textContent).layers.length"
    )
    assert layers == 2


def test_bars_are_as_long_as_their_numbers(page, pages):
    page.open(pages["failing"])
    widths = page.evaluate(boxes("tbody rect.f", "width"))
    lowers = [float(text) for text in page.evaluate(column(4))]
    ranked = sorted(range(5), key=widths.__getitem__)
    assert ranked == sorted(range(5), key=lowers.__getitem__)
    assert page.evaluate(boxes("tbody rect.l", "height")) == [20] * 5


def test_the_spectrum_is_drawn(page, pages):
    page.open(pages["clean"])
    page.evaluate("[...document.querySelectorAll('tbody details')].at(-1).open = true")
    heights = page.evaluate(boxes(".spectrum rect", "height"))
    assert heights == pytest.approx([64 / 5, 64 * 4 / 5, 64])


def test_the_pages_name_their_subject(page, pages):
    page.open(pages["clean"])
    assert page.evaluate("document.title").startswith("models/critic.onnx")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert replace(clean()).model.path in page.evaluate("document.querySelector('h1').textContent")
