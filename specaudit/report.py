"""What an audit found: facts without an opinion, to JSON and back.

The field names are those of the JSON contract (``schema`` ``specaudit.audit`` 1.0);
``outputs/json.py`` turns a `Report` and a verdict into that document and back.
"""

import math
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from specaudit.bracket import Bracket, Magnitude

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = "1.0"

Status = Literal["certified", "estimate", "unbounded", "not_computed", "non_finite"]
Kind = Literal[
    "linear",
    "convolution",
    "convolution_transposed",
    "recurrent",
    "embedding",
    "bilinear",
    "scale",
]
Of = Literal["operator", "reshaped"]


class Geometry(msgspec.Struct, frozen=True, omit_defaults=False):
    """How a convolution moves: ONNX's attributes, resolved.

    `strides`, `dilations` and `output_padding` have one entry a spatial dimension, `pads`
    two (all the begins, then all the ends). `input` holds the spatial sizes where they are
    known. `padding_mode` is ONNX's ``Pad`` mode of the padding in front of the layer.
    """

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1
    input: tuple[int, ...] | None = None
    output_padding: tuple[int, ...] | None = None
    padding_mode: Literal["constant", "reflect", "edge", "wrap"] = "constant"


class Norm(msgspec.Struct, frozen=True):
    """One operator norm and the evidence for it.

    `lower` and `upper` are None where they are not finite numbers; `status` says why.
    An estimate never travels in a field called upper: where `status` is ``estimate``,
    `upper` is None, and `estimate` holds a value which exceeds the norm with probability
    at least ``1 - failure_probability`` (over the tool's own random start) — or, where
    `failure_probability` is None, a value nothing is promised of.
    """

    lower: float | None
    upper: float | None
    status: Status
    method: str
    of: Of | None = None
    estimate: float | None = None
    failure_probability: float | None = None
    reason: str | None = None

    @classmethod
    def certified(cls, bracket: Bracket, method: str, of: Of | None = None) -> "Norm":
        """Return a proved norm; without a finite upper end it is `unbounded`."""
        if bracket.upper == math.inf:
            return cls(bracket.lower, None, "unbounded", method, of)
        return cls(bracket.lower, bracket.upper, "certified", method, of)

    @property
    def bracket(self) -> Bracket:
        """The interval that is proved: [lower or 0, upper or infinity]."""
        upper = math.inf if self.upper is None else self.upper
        return Bracket(0.0 if self.lower is None else self.lower, upper)


class Spectrum(msgspec.Struct, frozen=True):
    """The leading singular values, descending, and a histogram of log10 of all of them."""

    leading: tuple[float, ...]
    histogram_edges: tuple[float, ...]
    histogram_counts: tuple[int, ...]
    condition: float | None = None


class Measurement(msgspec.Struct, frozen=True):
    """A layer's norms, with their evidence. `seconds` stays out of the document.

    `op` is the graph's name of what applies the weight (``Gemm``), where there is a graph.
    A convolution has both `operator_norm` and `reshaped_norm`; `norm` is the judged one of them.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    norm: Norm
    node: str | None = None
    geometry: Geometry | None = None
    reshaped_norm: Norm | None = None
    notes: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    device: str = "cpu"
    spectrum: Spectrum | None = None
    matvecs: int = 0
    seconds: float = 0.0
    op: str | None = None
    operator_norm: Norm | None = None


# The reason of a `Skipped` layer that the user did not select.
LEFT_OUT = "left out by the selection"


class Skipped(msgspec.Struct, frozen=True):
    """What was not measured, and why.

    `covered` is True where leaving it out is right (an index table, running statistics)
    and False where something was not examined that should have been: that is a hole in
    the audit and fails ``check`` (SA003).
    """

    name: str
    shape: tuple[int, ...]
    reason: str
    covered: bool = True


class Product(msgspec.Struct, frozen=True):
    """The product of the layers' upper ends, and what it assumes."""

    upper: float | None
    log10_upper: float | None
    status: Status
    layers: int
    assumes: str
    reason: str | None = None


class Unbounded(msgspec.Struct, frozen=True):
    """A node without a finite constant. `code` is a letter of D G B I R."""

    node: str
    op: str
    reason: str
    code: str | None = None


class Factor(msgspec.Struct, frozen=True):
    """One step of the path that carries the bound."""

    node: str
    op: str
    log10_factor: float
    rule: str = ""


class InputBound(msgspec.Struct, frozen=True):
    """The bound with respect to one input of the graph."""

    name: str
    upper: float | None
    log10_upper: float | None


class NetworkBound(msgspec.Struct, frozen=True):
    """A Lipschitz bound over the real graph.

    `lower` is a difference quotient that was really observed; `method` names the rung that
    won; `path` the nodes that carry the bound from input to output.
    """

    status: Status
    upper: float | None = None
    log10_upper: float | None = None
    lower: float | None = None
    method: str | None = None
    path: tuple[str, ...] = ()
    unbounded: tuple[Unbounded, ...] = ()
    unmodelled: tuple[Unbounded, ...] = ()
    reason: str | None = None
    factors: tuple[Factor, ...] = ()
    contributors: tuple[Factor, ...] = ()
    inputs: tuple[InputBound, ...] = ()
    assumptions: tuple[str, ...] = ()

    @classmethod
    def not_computed(cls, reason: str) -> "NetworkBound":
        """Return the bound of which nothing is known, and why."""
        return cls("not_computed", reason=reason)


class ModelInfo(msgspec.Struct, frozen=True):
    """Which file this is about."""

    path: str
    sha256: str
    format: str
    parameters: int
    opset: int | None = None
    notes: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True):
    """What the numbers depend on.

    `rtol` is the relative width that is wanted of a bracket, `convolution_rtol` (in the
    document, the default of which is wider) that of a convolution whose norm is a supremum
    over frequencies. The ends of each norm say what was reached.
    `certify_limit` is the short side of a matrix past which no Cholesky factorisation is
    taken, and the norm is an estimate (``norms`` says what one costs).
    """

    method: Literal["auto", "svd", "lanczos", "power"] = "auto"
    rtol: float = 1e-6
    conv: Of = "operator"
    seed: int = 0
    iterations: int | None = None
    certify: bool = True
    device: str = "cpu"
    input_shapes: dict[str, tuple[int, ...]] = {}
    input_range: dict[str, tuple[float, float]] | None = None
    rtol_given: bool = False
    certify_limit: int = 16384

    @property
    def convolution_rtol(self) -> float:
        """The width that is wanted of a convolution, each digit of which costs more samples."""
        return self.rtol if self.rtol_given else 1e-2


class Run(msgspec.Struct, frozen=True):
    """What changes from run to run."""

    started: str
    seconds: float
    device: str
    jobs: int


class Report(msgspec.Struct, frozen=True):
    """All facts of one audit, no opinion."""

    model: ModelInfo
    settings: Settings
    layers: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...]
    product: Product
    network: NetworkBound
    run: Run

    def metrics(self) -> dict[str, float]:
        """Return the finite numbers by name, for an experiment tracker.

        Returns
        -------
        dict
            ``norm/<layer>`` (the upper end), ``product/log10_upper``,
            ``network/upper``, ``network/log10_upper``, ``network/lower``. A number that is
            not proved to be finite is left out. A layer that several nodes apply has an
            entry for each, ``norm/<layer>@<node>``.
        """
        count = Counter(layer.name for layer in self.layers)
        found = {
            f"norm/{layer.name}" + (f"@{layer.node}" if count[layer.name] > 1 else ""): (
                layer.norm.upper
            )
            for layer in self.layers
        }
        found["product/log10_upper"] = self.product.log10_upper
        for field in ("upper", "log10_upper", "lower"):
            found[f"network/{field}"] = getattr(self.network, field)
        return {name: value for name, value in found.items() if value is not None}

    def to_frame(self) -> "pandas.DataFrame":
        """Return the layers as a pandas data frame, a row each; needs pandas."""
        try:
            import pandas  # heavy, and only for those who have it
        except ImportError as error:
            raise ImportError("a data frame needs pandas: pip install pandas") from error

        rows = [
            {
                "name": layer.name,
                "node": layer.node,
                "kind": layer.kind,
                "shape": layer.shape,
                "dtype": layer.dtype,
                "lower": layer.norm.lower,
                "upper": layer.norm.upper,
                "status": layer.norm.status,
                "method": layer.norm.method,
                "reshaped_lower": layer.reshaped_norm.lower if layer.reshaped_norm else None,
                "reshaped_upper": layer.reshaped_norm.upper if layer.reshaped_norm else None,
            }
            for layer in self.layers
        ]
        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        path, layers, skipped = self.model.path, len(self.layers), len(self.skipped)
        return f"<Report {path!r}: {layers} layers, {skipped} skipped, {self.network.status}>"

    def __str__(self) -> str:
        # What ``specaudit inspect`` prints into a pipe.
        from specaudit.outputs import notebook  # as below

        return notebook.text(self)

    def _repr_html_(self) -> str:
        # A notebook asks the object itself: the one import upwards, allowed by name in
        # pyproject.toml.
        from specaudit.outputs import notebook

        return notebook.view(self)


class ClampedLayer(msgspec.Struct, frozen=True):
    """What a clamp did to one layer.

    `factor` is that of the least-squares multiple of the old weight which the new one is
    (1 where nothing changed), `change` the Frobenius norm of the difference, `tensors` what
    was written, `consumers` the other layers that were changed with it. `entries_lost` became
    zero by rounding, `entries_subnormal` kept some of their digits.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    before: Norm
    after: Norm
    factor: float = 1.0
    limit: float | None = None
    change: float = 0.0
    relative_change: float = 0.0
    entries_lost: int = 0
    entries_subnormal: int = 0
    node: str | None = None
    tensors: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether a single bit of it is another."""
        return bool(self.tensors)


class Drift(msgspec.Struct, frozen=True):
    """How far outputs moved on random inputs: by element, and relative to the old output."""

    inputs: int
    largest: float
    relative: float
    seed: int


class Clamping(msgspec.Struct, frozen=True):
    """A model before and after it was clamped. `output` is None where nothing was written."""

    source: ModelInfo
    output: str | None
    mode: str
    settings: Settings
    layers: tuple[ClampedLayer, ...]
    skipped: tuple[Skipped, ...]
    products: tuple[Product, Product]
    networks: tuple[NetworkBound, NetworkBound]
    max_lipschitz: float | None = None
    biases: tuple[str, ...] = ()
    comparison: Drift | None = None
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[ClampedLayer, ...]:
        """The layers that are not what they were."""
        return tuple(layer for layer in self.layers if layer.is_changed)


def finite_or_none(value: float) -> float | None:
    """Return `value`, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


def magnitude_fields(bound: Magnitude) -> dict[str, float | None]:
    """Return ``upper`` and ``log10_upper`` of a bound as the document wants them."""
    return {
        "upper": finite_or_none(bound.upper),
        "log10_upper": finite_or_none(bound.log10_upper),
    }
