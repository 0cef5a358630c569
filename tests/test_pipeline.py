"""The report as a whole: what the product says of itself, and that jobs change nothing."""

import time
from pathlib import Path

import msgspec
import pytest

from specaudit import measuring, norms, pipeline
from specaudit.errors import UnreadableModel
from specaudit.pipeline import audit, multiply
from specaudit.report import Measurement, Norm

SAMPLES = Path(__file__).parents[1] / "sample_models"


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


def timeless(report):
    return [msgspec.structs.replace(one, seconds=0.0) for one in report.layers]


@pytest.mark.parametrize("name", ["cnn.pt", "transformer.pt", "lstm.pt"])
def test_jobs_change_nothing(name, monkeypatch):
    one = timeless(audit(SAMPLES / name))
    assert timeless(audit(SAMPLES / name, jobs=3)) == one
    # Some side by side, some alone: the order stays.
    layers = pipeline.prepare(SAMPLES / name).layers
    middle = sorted(map(norms.working_bytes, layers))[len(layers) // 2]
    largest = max(map(measuring.weight_bytes, layers))
    monkeypatch.setattr(measuring, "_SIDE_BY_SIDE_BYTES", 3 * middle - 2 * largest)
    assert timeless(audit(SAMPLES / name, jobs=3)) == one


def test_after_an_error_what_waits_is_not_measured(monkeypatch):
    begun = []

    def measure(layer, settings):
        begun.append(layer.name)
        if len(begun) == 1:
            raise UnreadableModel("broken", where=layer.name)
        time.sleep(0.1)

    monkeypatch.setattr(norms, "measure", measure)
    prepared = pipeline.prepare(SAMPLES / "transformer.pt")
    with pytest.raises(UnreadableModel, match="broken"):
        list(pipeline.measure(prepared, jobs=2))
    assert len(begun) < len(prepared.layers) / 2
