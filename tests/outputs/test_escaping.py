import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from specaudit.outputs.escaping import shortened, size, visible

ANY = st.text(st.characters())


@given(ANY)
def test_what_is_visible_is_one_harmless_line(text):
    shown = visible(text)
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not any(
        unicodedata.bidirectional(c)[-1:] in ("E", "O", "I") and c != "ﾰ"
        for c in shown
        if unicodedata.category(c) == "Cf"
    )
    assert not shown.lstrip().startswith("::")


@given(st.text(st.characters(categories=["L", "N"])))
def test_ordinary_names_stay_as_they_are(text):
    fillers = "\u115f\u1160\u3164\uffa0"  # letters by name, invisible in fact
    if not any(c in text for c in fillers):
        assert visible(text) == text


@given(ANY, st.integers(12, 60))
def test_shortened_fits_and_stays_different(text, limit):
    assert len(shortened(text, limit)) <= limit
    if len(visible(text)) > limit:
        assert shortened(text, limit) != shortened(text[:-1] + chr(ord(text[-1]) ^ 1), limit)


def test_names_of_every_day():
    for name in ("onnx::MatMul_1", "/conv1/Conv", "model.layers.0.weight", "重み", "a b"):
        assert visible(name) == name
    assert size((3, 4)) == "3×4"
    assert size(()) == "scalar"
