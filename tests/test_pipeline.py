"""The report as a whole: what the product says of itself."""

import pytest

from specaudit.pipeline import multiply
from specaudit.report import Measurement, Norm


def layer(name, upper, kind="linear", status="certified"):
    norm = Norm(upper / 2, upper if status == "certified" else None, status, "gram")
    return Measurement(name=name, kind=kind, shape=(2, 2), dtype="float32", norm=norm)


def test_the_product_says_what_stayed_out_of_it_and_only_that():
    plain = multiply([layer("a", 2.0), layer("b", 3.0)])
    assert (plain.upper, plain.layers) == (pytest.approx(6.0), 2)
    assert "stay out" not in plain.assumes
    mixed = multiply([layer("a", 2.0), layer("e", 9.0, "embedding"), layer("s", 9.0, "scale")])
    assert (mixed.upper, mixed.layers) == (pytest.approx(2.0), 1)
    assert "embeddings and scales of norm layers are measured and stay out" in mixed.assumes
    scaled = multiply([layer("a", 2.0), layer("s", 9.0, "scale")])
    assert "embeddings" not in scaled.assumes


def test_one_factor_without_a_proof_leaves_no_product():
    product = multiply([layer("a", 2.0), layer("b", 3.0, status="estimate")])
    assert (product.upper, product.status) == (None, "estimate")
    assert product.reason == "the norm of b is estimate"
    worse = multiply([layer("b", 3.0, status="estimate"), layer("c", 3.0, status="non_finite")])
    assert (worse.status, worse.reason) == ("non_finite", "the norm of c is non_finite")
    assert multiply([layer("e", 9.0, "embedding")]).status == "not_computed"
