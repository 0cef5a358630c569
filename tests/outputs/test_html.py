import base64
import hashlib
import re

from specaudit.outputs import html
from specaudit.outputs.bars import Scale
from specaudit.report import Norm
from tests.outputs.reports import pairs
from tests.outputs.test_renderers import many, xml_of

PAIRS = pairs()


def test_the_policy_allows_this_very_style_and_script():
    text = html.render([PAIRS["failing"]])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    for tag in ("style", "script"):
        body = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert "style=" not in text
    assert not re.search(r"""(?:src|href)=["'](?!#)""", text)


def test_300_layers_stay_under_500_kilobytes():
    assert len(html.render([many(300)]).encode()) < 500_000


def test_a_page_on_several_models_is_well_formed():
    import xml.etree.ElementTree as ET

    tree = ET.fromstring(xml_of(html.render(list(PAIRS.values()))))
    assert len(list(tree.iter("article"))) == 3
    identities = [one.get("id") for one in tree.iter() if one.get("id")]
    assert len(identities) == len(set(identities))
    for svg in tree.iter("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden")


def test_a_bar_lies_where_its_numbers_lie():
    scale = Scale(-1.0, 1.0)
    drawn = html.bar(Norm(1.0, 10.0, "certified", "x"), scale, limit=0.1)
    assert (drawn["solid"], drawn["reach"], drawn["span"]) == ("50%", "100%", "50%")
    assert drawn["limit"] == "0%"
    assert html.bar(Norm(1.0, None, "unbounded", "x"), scale)["open"]
    nothing = html.bar(Norm(0.0, 0.0, "certified", "x"), scale)
    assert (nothing["solid"], nothing["reach"]) == ("", "")


def test_scales_hold_their_values_and_survive_extremes():
    for values in ([1e-320, 1e308], [0.0], [], [None, 5.0], [1.0], [1e300, 1e301]):
        scale = Scale.over(values)
        assert scale.low < scale.high
        present = [value for value in values if value]
        assert all(0.0 <= scale.at(value) <= 1.0 for value in present)
        assert scale.at(max(present, default=1.0)) > scale.at(0.0)
        assert len(list(scale.ticks(6))) <= 7
