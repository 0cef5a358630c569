"""Convolutions, pools and resizing with random attributes: the shapes that onnxruntime gives."""

import numpy as np
import pytest
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from specaudit.graphs import resolve
from tests.graphs.building import Reading, proto, run, value

COUNT = 60
REFUSALS = (errors.Fail, errors.InvalidArgument, errors.NotImplemented, errors.RuntimeException)


def windows(rng, op: str):
    axes = int(rng.integers(1, 3)) if op != "ConvTranspose" else 2
    kernel = rng.integers(1, 5, axes).tolist()
    attributes = {"kernel_shape": kernel, "strides": rng.integers(1, 4, axes).tolist()}
    if rng.random() < 0.3:
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    else:
        attributes["pads"] = [int(rng.integers(0, k)) for k in kernel * 2]
        attributes["dilations"] = rng.integers(1, 3, axes).tolist()
    spatial = rng.integers(5, 14, axes).tolist()
    if op.endswith("Pool"):
        attributes["ceil_mode"] = int(rng.integers(0, 2))
        if op == "LpPool":
            attributes.pop("dilations", None)
            attributes["p"] = 2
    elif op == "ConvTranspose" and "pads" in attributes:
        strides, dilations = attributes["strides"], attributes["dilations"]
        extra = [int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations, strict=True)]
        attributes["output_padding"] = extra
    return attributes, [2, 4, *spatial], kernel


@pytest.mark.parametrize("opset", [11, 18, 22])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"])
def test_windows_are_counted_as_onnxruntime_counts_them(read: Reading, op, opset) -> None:
    rng = np.random.default_rng(opset)
    compared = 0
    for _ in range(COUNT):
        attributes, shape, kernel = windows(rng, op)
        if opset < 18 and op in {"AveragePool", "LpPool"}:
            attributes.pop("dilations", None)
            if op == "LpPool":
                attributes.pop("ceil_mode")
        elif opset < 19 and op == "AveragePool":
            attributes.pop("dilations", None)
        feeds = {"x": rng.standard_normal(shape).astype(np.float32)}
        if op.startswith("Conv"):
            group = int(rng.integers(1, 3))
            attributes["group"] = group
            across = [6, 4 // group] if op == "Conv" else [4, 3]
            feeds["w"] = rng.standard_normal([*across, *kernel]).astype(np.float32)
        node = helper.make_node(op, list(feeds), ["y"], **attributes)
        infos = [value(name, array.shape) for name, array in feeds.items()]
        model = proto([node], infos, ["y"], opset=opset)
        try:
            (truth,) = run(model, feeds)
        except REFUSALS:
            continue
        mine = resolve(read(model)).shape("y")
        if None not in mine:
            assert mine == truth.shape, attributes
            compared += 1
    assert compared > COUNT // 2


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_sizes_of_a_resize(read: Reading, policy) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        shape = [1, 2, *rng.integers(3, 12, 2).tolist()]
        feeds = {"x": rng.standard_normal(shape).astype(np.float32)}
        attributes = {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": "nearest"}
        sizes = rng.integers(2, 25, 2)
        node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], **attributes)
        model = proto([node], [value("x", shape)], ["y"], {"s": sizes}, opset=19)
        assert resolve(read(model)).shape("y") == run(model, feeds)[0].shape, (shape, sizes)


def test_scales_of_a_resize(read: Reading) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = [1, 2, *rng.integers(3, 40, 2).tolist()]
        scales = np.float32([1, 1, *rng.choice([0.5, 1.5, 2, 1 / 3, 0.3, 0.6, 0.7, 2.4, 3], 2)])
        feeds = {"x": rng.standard_normal(shape).astype(np.float32)}
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
        model = proto([node], [value("x", shape)], ["y"], {"s": scales}, opset=18)
        assert resolve(read(model)).shape("y") == run(model, feeds)[0].shape, (shape, scales)
