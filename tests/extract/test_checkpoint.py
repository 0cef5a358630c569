"""Names, ranks, siblings and classes tell what a tensor of a bare checkpoint is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from specaudit.extract import matrices
from specaudit.model import Model
from tests.extract.making import checkpoint, extracted, kinds, reasons, rewritten, weight

RNG = np.random.default_rng(0)


def normal(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("fc.weight", (5, 3), "linear"),
        ("0.0.weight", (5, 3), "linear"),
        ("lm_head.weight", (50, 3), "linear"),
        ("time_embedding.linear_1.weight", (8, 4), "linear"),
        ("h.0.attn.c_attn.weight", (4, 12), "linear"),
        ("attn.in_proj_weight", (12, 4), "linear"),
        ("attn.q_proj_weight", (4, 4), "linear"),
        ("embeddings.word_embeddings.weight", (30, 4), "embedding"),
        ("wte.weight", (30, 4), "embedding"),
        ("model.embed_tokens.weight", (30, 4), "embedding"),
        ("pos_embed", (1, 17, 4), "embedding"),
        ("position", (16, 4), "embedding"),
        ("attn.relative_attention_bias.weight", (32, 4), "embedding"),
        ("conv.weight", (4, 3, 5), "convolution"),
        ("patch_embed.proj.weight", (8, 3, 4, 4), "convolution"),
        ("features.0.0.weight", (8, 3, 3, 3), "convolution"),
        ("layer.weight", (8, 3, 2, 3, 3), "convolution"),
        ("deconv1.weight", (8, 3, 2, 2), "convolution_transposed"),
        ("up.conv_transpose.weight", (8, 3, 2, 2), "convolution_transposed"),
        ("upTransConv.weight", (8, 3, 2, 2), "convolution_transposed"),
        ("bilinear.weight", (6, 3, 4), "bilinear"),
        ("rnn.weight_ih_l0", (16, 3), "recurrent"),
        ("rnn.weight_hh_l1_reverse", (16, 4), "recurrent"),
        ("cell.weight_hh", (16, 4), "recurrent"),
        ("rnn.weight_hr_l0", (2, 4), "recurrent"),
        ("norm.weight", (7,), "scale"),
        ("ln_f.weight", (7,), "scale"),
        ("encoder.LayerNorm.gamma", (7,), "scale"),
        ("norm2d.weight", (7, 1, 1), "scale"),
        ("block.ls1.gamma", (7,), "scale"),
    ],
)
def test_a_name_and_a_rank_make_a_kind(name: str, shape: tuple[int, ...], kind: str) -> None:
    values = normal(*shape)
    found = extracted({name: values})
    assert kinds(found) == {name: kind}
    layer = found.layers[0]
    assert layer.shape == shape
    assert layer.dtype == "float32"
    np.testing.assert_array_equal(np.ravel(layer.read()), np.ravel(values))


@pytest.mark.parametrize(
    ("name", "values", "covered"),
    [
        ("fc.bias", normal(3), True),
        ("attn.in_proj_bias", normal(12), True),
        ("rnn.bias_hh_l0", normal(16), True),
        ("LayerNorm.beta", normal(3), True),
        ("bn.running_mean", normal(3), True),
        ("bn.num_batches_tracked", np.array(3), True),
        ("embeddings.position_ids", np.arange(8)[None], True),
        ("attn.relative_position_index", np.zeros((9, 9), np.int64), True),
        ("attn.mask", np.full((3, 3), -np.inf, np.float32), True),
        ("attn.causal", np.ones((3, 3), bool), True),
        ("cls_token", normal(1, 1, 5), True),
        ("rotary.inv_freq", normal(4), True),
        ("prelu1.weight", normal(5), True),
        ("empty.weight", np.zeros((0, 4), np.float32), True),
        ("fc.weight", np.ones((4, 4), np.int8), False),
        ("fc.qweight", np.ones((4, 4), np.int32), False),
        ("mystery", np.float32(2.0), False),
        ("mystery", normal(5), False),
        ("mystery", normal(3, 4, 5), False),
        ("weight", normal(1, 2, 3, 2, 2, 2), False),
        ("fc.bias", np.array([1.0, np.nan]), False),
        ("fc.bias", np.array([1.0, np.inf]), False),
        ("attn.mask", np.full((3, 3), np.nan), False),
        ("bn.running_var", np.array([1.0, -1e-3]), False),
        ("bn.running_mean", np.array([1.0, np.nan]), False),
    ],
)
def test_what_is_no_layer_is_skipped(name: str, values: np.ndarray, covered: bool) -> None:
    found = extracted({name: values})
    assert not found.layers
    assert reasons(found)[name][1] is covered


def test_a_sibling_bias_makes_an_embedding_linear() -> None:
    table = {"bond_embedding.weight": normal(8, 3)}
    assert kinds(extracted(table)) == {"bond_embedding.weight": "embedding"}
    with_bias = {**table, "bond_embedding.bias": normal(8)}
    assert kinds(extracted(with_bias)) == {"bond_embedding.weight": "linear"}


def test_the_class_outranks_the_name() -> None:
    tensors = {
        "a.weight": normal(4, 4),
        "embed.weight": normal(4, 4),
        "c.weight": normal(4, 2, 3, 3),
        "d.weight": normal(4),
        "e.weight": normal(4),
    }
    found = extracted(
        tensors,
        a={"class": "torch.nn.modules.sparse.Embedding"},
        embed={"class": "Linear"},
        c={"class": "torch.nn.modules.conv.ConvTranspose2d"},
        d={"class": "PReLU"},
        e={"class": "BatchNorm1d", "eps": 1e-3},
    )
    assert kinds(found) == {
        "a.weight": "embedding",
        "embed.weight": "linear",
        "c.weight": "convolution_transposed",
        "e.weight": "scale",
    }


def test_doubt_is_said() -> None:
    assert extracted({"act.weight": normal(4)}).layers[0].notes
    assert not extracted({"act.weight": normal(4), "act.bias": normal(4)}).layers[0].notes
    assert extracted({"x.weight": normal(4, 3, 5)}).layers[0].notes
    assert not extracted({"x.conv.weight": normal(4, 3, 5)}).layers[0].notes


def test_batch_norm_is_divided_by_its_deviation_where_eps_is_known() -> None:
    tensors = {
        "bn.weight": np.array([1.0, -3.0, 0.5]),
        "bn.bias": normal(3),
        "bn.running_mean": normal(3),
        "bn.running_var": np.array([4.0, 0.25, 1e-6]),
    }
    (gamma,) = extracted(tensors).layers
    np.testing.assert_array_equal(gamma.read(), tensors["bn.weight"])
    assert "eps" in gamma.notes[0]
    told = {"class": "torch.nn.modules.batchnorm.BatchNorm2d", "eps": 1e-5}
    (scale,) = extracted(tensors, bn=told).layers
    expected = tensors["bn.weight"] / np.sqrt(tensors["bn.running_var"] + 1e-5)
    np.testing.assert_allclose(scale.read(), expected, rtol=4e-16)
    again = extracted(rewritten(tensors, scale, expected / 2), bn=told).layers[0]
    np.testing.assert_allclose(again.read(), expected / 2, rtol=4e-16)


def test_experts_are_layers_of_their_own_and_merge_when_written() -> None:
    tensors = {"mlp.experts.down_proj": normal(3, 4, 5)}
    found = extracted(tensors)
    assert list(kinds(found)) == [f"mlp.experts.down_proj.{i}" for i in range(3)]
    second = found.layers[1]
    assert second.write is not None
    new = second.write(2.0 * second.read())["mlp.experts.down_proj"]
    changed = new != tensors["mlp.experts.down_proj"]
    assert changed[1].all()
    assert not changed[[0, 2]].any()


def test_flax_kernels_are_channels_last() -> None:
    values = normal(3, 3, 8, 16)
    (layer,) = extracted({"Conv_0.kernel": values}).layers
    assert layer.read().shape == (16, 8, 3, 3)
    np.testing.assert_array_equal(layer.read()[5, 7], values[:, :, 7, 5])
    assert layer.write is not None
    np.testing.assert_array_equal(layer.write(layer.read())["Conv_0.kernel"], values)


def test_ties_and_overlaps_are_said() -> None:
    values = normal(6, 4)
    model = Model(
        "memory",
        "pytorch",
        str,
        (
            weight("embed.weight", values, storage="s", extent=(0, 96)),
            weight("head.weight", values, storage="s", extent=(0, 96)),
            weight("part.weight", values[2:], storage="s", extent=(32, 96)),
            weight("other.weight", values, storage="t", extent=(0, 96)),
        ),
    )
    notes = {layer.name: layer.notes for layer in matrices(model).layers}
    assert notes["head.weight"] == ("tied with embed.weight",)
    assert notes["part.weight"] == ("shares memory with embed.weight",)
    assert not notes["other.weight"]
    assert not any("tied" in note for note in notes["embed.weight"])


def test_optimizer_state_is_no_weight_and_its_nan_shows() -> None:
    good = weight("optimizer.state.0.exp_avg", normal(4, 4), role="optimizer")
    bad = weight("optimizer.state.1.exp_avg", np.full((4, 4), np.nan), role="optimizer")
    found = matrices(Model("memory", "pytorch", str, (good, bad)))
    assert not found.layers
    assert [(s.reason, s.covered) for s in found.skipped] == [
        ("optimizer state", True),
        ("optimizer state; holds NaN", False),
    ]


def test_what_the_reader_missed_is_not_covered() -> None:
    model = Model("memory", "pytorch", str, (), missing=(("a.weight", "nested tensor"),))
    (skipped,) = matrices(model).skipped
    assert (skipped.name, skipped.covered) == ("a.weight", False)


def test_plain_layers_are_written_as_they_are_read() -> None:
    tensors = {"fc.weight": normal(3, 4), "pos_embed": normal(1, 5, 4), "norm.weight": normal(2, 1)}
    for layer in extracted(tensors).layers:
        new = rewritten(tensors, layer, layer.read() / 3)
        np.testing.assert_array_equal(new[layer.name], tensors[layer.name] / np.float32(3))


def test_two_tensors_of_one_name_are_both_there() -> None:
    model = Model("m", "pytorch", str, (weight("w.weight", normal(2, 2)),) * 1
                  + (weight("w.weight", normal(3, 3)),))  # fmt: skip
    assert [layer.shape for layer in matrices(model).layers] == [(2, 2), (3, 3)]


def test_nothing_is_read_before_it_is_asked_for() -> None:
    def read() -> np.ndarray:
        raise AssertionError("read too early")

    model = checkpoint({})
    model = Model("m", "pytorch", str, (
        weight("fc.weight", normal(2, 2)).__class__("fc.weight", (2, 2), "float32", read),
    ))  # fmt: skip
    assert len(matrices(model).layers) == 1
