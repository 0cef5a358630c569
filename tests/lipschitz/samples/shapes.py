"""Moving, repeating and choosing elements: a sample network for each rule."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import D, F, I, normal, sample


def _shapes() -> None:
    one = {"exact": 1.0}
    sample("Transpose", {"x": [2, 3]}, perm=[1, 0], **one)
    sample("Reshape", {"x": [2, 3]}, {"s": np.array([3, 2])}, **one)
    sample("Flatten", {"x": [2, 3]}, **one)
    sample("Squeeze", {"x": [1, 3]}, {"a": np.array([0])}, **one)
    sample("Unsqueeze", {"x": [3]}, {"a": np.array([0])}, **one)
    sample("DepthToSpace", {"x": [1, 4, 1, 2]}, blocksize=2, **one)
    sample("SpaceToDepth", {"x": [1, 1, 2, 2]}, blocksize=2, **one)
    sample("ReverseSequence", {"x": [3, 2]}, {"l": np.array([2, 3])}, **one)
    sample("CenterCropPad", {"x": [5, 2]}, {"s": np.array([3, 4])}, opset=18, **one)
    sample("Trilu", {"x": [3, 3]}, **one)
    sample(
        "Slice", {"x": [4, 2]}, {"b": np.array([1]), "e": np.array([3]), "a": np.array([0])}, **one
    )
    sample("Split", {"x": [4]}, {"s": np.array([1, 3])}, outputs=2, **one)
    sample("Concat", {"a": [2], "b": [3]}, axis=0, exact=1.0)
    sample("Concat", {"x": [2]}, order=["x", "x"], axis=0, exact=2**0.5, label="twice")
    sample("Expand", {"x": [2, 1]}, {"s": np.array([3, 2, 4])}, exact=12**0.5)
    sample("Tile", {"x": [2]}, {"r": np.array([3])}, exact=3**0.5)
    for mode, ratio in (("constant", 0.99), ("reflect", 0.99), ("edge", 0.99), ("wrap", 0.99)):
        sample(
            "Pad", {"x": [3]}, {"p": np.array([1, 1])}, mode=mode, opset=19, label=mode, ratio=ratio
        )
    sample("Gather", {"x": [3, 2]}, {"i": np.array([0, -1, 2, 2])}, exact=3**0.5)
    sample("GatherElements", {"x": [3, 2]}, {"i": np.array([[0, 1], [0, -1]])}, exact=2**0.5)
    sample("GatherND", {"x": [3, 2]}, {"i": np.array([[0, 1], [0, 1], [2, 0]])}, exact=2**0.5)
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=0),
        helper.make_node("Gather", ["t", "i"], ["y"]),
    ]
    sample(
        "Gather",
        model=model_of(nodes, {"x": [3, 1]}, {"t": normal(3)}, ["y"]),
        code="I",
        label="live index",
    )
    sample("Compress", {"x": [4]}, {"c": np.array([True, False, True, True])}, axis=0, **one)
    for op, attributes in (
        ("ScatterElements", {}),
        ("ScatterElements", {"reduction": "add"}),
        ("ScatterElements", {"reduction": "max"}),
        ("Scatter", {}),
    ):
        index = [[0, 1, 1]] if attributes else [[0, 1, 2]]
        sample(
            op,
            {"x": [1, 3], "u": [1, 3]},
            {"i": np.array(index)},
            order=["x", "i", "u"],
            axis=1,
            opset=18 if op != "Scatter" else 10,
            ratio=0.6,
            **attributes,
        )
    sample(
        "ScatterElements",
        {"x": [1, 3], "u": [1, 3]},
        {"i": np.array([[0, 1, 2]])},
        order=["x", "i", "u"],
        axis=1,
        reduction="mul",
        code="B",
        opset=18,
        label="mul",
    )
    sample(
        "ScatterND",
        {"x": [3], "u": [2]},
        {"i": np.array([[0], [0]])},
        order=["x", "i", "u"],
        reduction="add",
        opset=18,
        ratio=0.6,
    )
    sample(
        "TensorScatter",
        {"x": [1, 3, 2], "u": [1, 1, 2]},
        {"i": np.array([1])},
        order=["x", "u", "i"],
        opset=24,
        ratio=0.6,
    )
    sample("Cast", {"x": [3]}, to=D, in_type=F, ratio=0.9, **one)
    sample("Cast", {"x": [3]}, to=I, out_type=I, code="D", label="to integers")
    sample("CastLike", {"x": [3]}, {"t": np.float64(1.0)}, **one)
    sample("BitCast", {"x": [3]}, to=I, out_type=I, code="D", opset=26, runs=False)
    for op in ("Shape", "Size"):
        sample(op, {"x": [3]}, exact=0.0, ratio=0.0, out_type=I)
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "z"], ["s"]),
        helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
        helper.make_node("SequenceErase", ["t", "k"], ["u"]),
        helper.make_node("SequenceAt", ["u", "k"], ["y"]),
    ]
    chain = model_of(nodes, {"x": [3], "z": [3]}, {"k": np.int64(0)}, ["y"])
    for op in ("SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt"):
        sample(op, model=chain, ratio=0.3)
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["s"]),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0),
    ]
    for op in ("SplitToSequence", "ConcatFromSequence"):
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0)
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("SequenceLength", ["s"], ["y"]),
    ]
    sample(
        "SequenceLength",
        model=model_of(nodes, {"x": [3]}, {}, ["y"], out_type=I),
        exact=0.0,
        ratio=0.0,
    )
    nodes = [
        helper.make_node("Optional", ["x"], ["o"]),
        helper.make_node("OptionalHasElement", ["o"], ["y"]),
    ]
    sample(
        "OptionalHasElement",
        model=model_of(nodes, {"x": [3]}, {}, ["y"], out_type=TensorProto.BOOL),
        exact=0.0,
        ratio=0.0,
    )
    plain = {
        "EyeLike": [helper.make_node("EyeLike", ["x"], ["c"])],
        "ConstantOfShape": [
            helper.make_node("Shape", ["x"], ["n"]),
            helper.make_node("ConstantOfShape", ["n"], ["c0"]),
            helper.make_node("CastLike", ["c0", "x"], ["c"]),
        ],
        "Constant": [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float64(3.0)))
        ],
        "Range": [helper.make_node("Range", ["a", "b", "d"], ["c"])],
    }
    ends = {"a": np.float64(0.0), "b": np.float64(3.0), "d": np.float64(1.0)}
    for op, nodes in plain.items():
        sample(
            op,
            model=model_of(
                [*nodes, helper.make_node("Add", ["x", "c"], ["y"])], {"x": [3, 3]}, ends, ["y"]
            ),
            exact=1.0,
        )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["s"], dtype=D),
        helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
        helper.make_node("SequenceAt", ["t", "k"], ["y"]),
    ]
    sample("SequenceEmpty", model=model_of(nodes, {"x": [3]}, {"k": np.int64(0)}, ["y"]), exact=1.0)
    nodes = [
        helper.make_node("OneHot", ["i", "d", "v"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    sample(
        "OneHot",
        model=model_of(
            nodes,
            {"i": [3]},
            {"d": np.int64(4), "v": np.array([0.0, 1.0]), "w": normal(4, 2)},
            ["y"],
            types={"i": I},
        ),
        code="",
        ratio=0.0,
        runs=False,
    )


_shapes()
