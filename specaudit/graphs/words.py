"""The words that an attribute may hold, where ONNX lists them.

Runtimes disagree about a word they do not know: one refuses the file, one takes its default,
one adds where it should average. A bound would be of one of these functions only.
"""

from typing import TYPE_CHECKING

from specaudit.errors import UnreadableModel

if TYPE_CHECKING:
    from specaudit.model import Node

_LOSSES = "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss"
_WINDOWS = "Conv ConvTranspose ConvInteger QLinearConv AveragePool LpPool MaxPool"
_COORDINATES = """
    half_pixel half_pixel_symmetric pytorch_half_pixel align_corners asymmetric
    tf_half_pixel_for_nn tf_crop_and_resize
"""
_KINDS = [
    ("approximate", "Gelu", "none tanh"),
    ("auto_pad", _WINDOWS, "NOTSET SAME_UPPER SAME_LOWER VALID"),
    ("coordinate_transformation_mode", "Resize", _COORDINATES),
    ("coordinate_transformation_mode", "RoiAlign", "half_pixel output_half_pixel"),
    ("direction", "RNN GRU LSTM", "forward reverse bidirectional"),
    ("keep_aspect_ratio_policy", "Resize", "stretch not_larger not_smaller"),
    ("mode", "DepthToSpace", "DCR CRD"),
    ("mode", "GridSample", "linear bilinear nearest cubic bicubic"),
    ("mode", "Pad", "constant reflect edge wrap"),
    ("mode", "Resize", "nearest linear cubic"),
    ("mode", "RoiAlign", "avg max"),
    ("mode", "Upsample", "nearest linear bilinear"),
    ("nearest_mode", "Resize", "round_prefer_floor round_prefer_ceil floor ceil"),
    ("padding_mode", "GridSample", "zeros border reflection"),
    ("reduction", _LOSSES, "none mean sum"),
    ("reduction", "ScatterElements ScatterND", "none add mul max min"),
]
WORDS = {(op, name): frozenset(words.split()) for name, ops, words in _KINDS for op in ops.split()}


def check_words(node: "Node") -> None:
    """Refuse a node of ONNX's own with a word that its operation does not have.

    Raises
    ------
    UnreadableModel
        An attribute holds a word that is none of those listed.
    """
    for name, value in node.attributes.items() if not node.domain else ():
        known = WORDS.get((node.op, name))
        if known is None or not isinstance(value, str | bytes):
            continue
        word = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if word not in known:
            raise UnreadableModel(
                f"{node.op} has no {name} {word[:40]!a}",
                where=node.name,
                help=f"its words are {', '.join(sorted(known))}: export the model anew",
            )
