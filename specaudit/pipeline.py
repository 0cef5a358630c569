"""Load, extract, measure, compose: from a model to the `Report` of what is proved about it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from specaudit import extract, formats, measuring, norms
from specaudit.bracket import ONE, Magnitude
from specaudit.errors import SpecauditError, UnreadableModel, UsageError
from specaudit.model import Model
from specaudit.operators import Layer
from specaudit.policy.patterns import matcher
from specaudit.report import (
    LEFT_OUT,
    Measurement,
    ModelInfo,
    NetworkBound,
    Norm,
    Product,
    Report,
    Run,
    Settings,
    Skipped,
    Status,
    finite_or_none,
)

if TYPE_CHECKING:
    from torch import nn

    from specaudit.graphs import ResolvedGraph
    from specaudit.witness import Witness

# Measured, but no factor of the product: an embedding is a table that is looked up, and
# the scale of a norm layer acts on what that layer has normalised.
_OUTSIDE_PRODUCT = {"embedding": "embeddings", "scale": "scales of norm layers"}
_RANK: tuple[Status, ...] = ("certified", "estimate", "not_computed", "unbounded", "non_finite")
_ASSUMES = "the layers act one after another and nothing between them stretches"

LimitOf = Callable[[Measurement], float | None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model that is read and taken apart, not yet measured."""

    model: Model
    extraction: "extract.Extraction"
    layers: tuple[Layer, ...]
    deselected: tuple[Skipped, ...]
    settings: Settings
    started: float

    @property
    def size_bytes(self) -> int:
        """Bytes of weights that will be read: what progress counts."""
        return sum(measuring.weight_bytes(layer) for layer in self.layers)


def audit(
    model: "str | os.PathLike[str] | Model | nn.Module",
    *,
    settings: Settings | None = None,
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    jobs: int = 1,
    trust: bool = False,
    limit_of: LimitOf | None = None,
    arch: str | None = None,
    example_inputs: object = None,
) -> Report:
    """Measure every weight of a model and bound the network.

    Parameters
    ----------
    model : path, Model or torch.nn.Module
        A file in any format that is read, or a live module.
    settings : Settings, optional
        What the numbers depend on: method, tolerance, input shapes, …
    layers, exclude : sequence of str
        Patterns of the layers to measure and to leave out: ``*`` stays within a dotted
        segment, ``**`` crosses, ``re:`` begins a regular expression.
    jobs : int
        Layers measured side by side.
    trust : bool
        Let torch load a ``.pt2`` program for its graph, which can execute what is in it.
    limit_of : callable, optional
        The limit of a measured layer, or None: a norm whose bracket holds its limit is
        measured once more, to a millionth.
    arch : str, optional
        ``package.module:factory`` of code that builds the module of a state dict: it is run,
        and the module exported for its graph, at the input shapes of `settings`.
    example_inputs : tensor, sequence or mapping, optional
        What a live module is called with to trace its graph; without them there is none.

    Returns
    -------
    Report
        All facts, no opinion.

    Raises
    ------
    ModelError
        If the file cannot be audited, or holds no weights.
    UsageError
        If a pattern matches no layer, or the path does not exist.

    Examples
    --------
    >>> import specaudit
    >>> report = specaudit.audit("sample_models/mlp.onnx")
    >>> all(layer.norm.status == "certified" for layer in report.layers)
    True
    """
    prepared = prepare(
        model,
        settings=settings,
        layers=layers,
        exclude=exclude,
        trust=trust,
        arch=arch,
        example_inputs=example_inputs,
    )
    measured = tuple(measure(prepared, jobs=jobs, limit_of=limit_of))
    return compose(prepared, measured, jobs=jobs)


def prepare(
    model: "str | os.PathLike[str] | Model | nn.Module",
    *,
    settings: Settings | None = None,
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    trust: bool = False,
    arch: str | None = None,
    example_inputs: object = None,
) -> Prepared:
    """Load a model and find its layers; `audit` says what the parameters are."""
    started = time.time()
    settings = settings or Settings()
    if not isinstance(model, Model):
        if isinstance(model, str | os.PathLike):
            model = formats.load(os.fspath(model), trust=trust)
        else:
            from specaudit.formats import module  # imports torch

            model = module.load(model, example_inputs)
    if arch is not None:
        from specaudit.formats import architecture  # imports torch, and the user's own code

        model, shapes = architecture.with_architecture(model, arch, settings.input_shapes)
        settings = msgspec.structs.replace(settings, input_shapes=shapes)
    if not model.weights and not model.missing:
        raise UnreadableModel("no weights in the file", where=model.path)
    extraction = extract.matrices(model, input_shapes=settings.input_shapes)
    _refuse_unknown_inputs(extraction.resolved, settings.input_range or {})
    chosen, deselected = select(extraction.layers, layers, exclude)
    return Prepared(model, extraction, chosen, deselected, settings, started)


def _refuse_unknown_inputs(resolved: "ResolvedGraph | None", ranges: Mapping[str, object]) -> None:
    """Raise if a range is of no input: a typo must not turn into a looser bound."""
    if resolved is None:
        return
    names = [info.name for info in resolved.inputs]
    for name in ranges:
        if name and name not in names:
            inputs = ", ".join(names)
            raise UsageError(f"the graph has no input {name!r}", help=f"its inputs: {inputs}")


def measure(
    prepared: Prepared,
    *,
    jobs: int = 1,
    spectrum: bool = False,
    limit_of: LimitOf | None = None,
    settings_of: Callable[[Layer], Settings] | None = None,
) -> Iterator[Measurement]:
    """Yield the measurement of each layer, in the order of the file.

    `settings_of` gives a layer settings of its own.
    """

    def measure_one(layer: Layer) -> Measurement:
        settings = prepared.settings if settings_of is None else settings_of(layer)
        measurement = norms.measure(layer, settings)
        limit = limit_of(measurement) if limit_of is not None else None
        if limit is not None:
            measurement = measuring.decided(layer, measurement, limit, settings)
        if not spectrum or measurement.norm.status == "non_finite":
            return measurement
        return msgspec.structs.replace(measurement, spectrum=norms.spectrum(layer))

    if norms.devices.resolve(prepared.settings.device) != "cpu":
        jobs = 1  # one layer fills a device
    return measuring.side_by_side(measure_one, prepared.layers, jobs=jobs)


def compose(
    prepared: Prepared,
    measurements: tuple[Measurement, ...],
    *,
    jobs: int = 1,
    found: "Witness | None" = None,
) -> Report:
    """Put the measurements together: the product, the network bound, the report.

    `found` is the pair that proves the lower bound; without one a short search is made.
    """
    model, settings = prepared.model, prepared.settings
    network = with_lower(bound_network(prepared, measurements), found or witness(prepared))
    now = time.time()
    return Report(
        model=_describe(model),
        settings=settings,
        layers=measurements,
        skipped=prepared.extraction.skipped + prepared.deselected,
        product=multiply(measurements),
        network=network,
        run=Run(
            started=datetime.fromtimestamp(prepared.started, UTC).isoformat(timespec="seconds"),
            seconds=round(now - prepared.started, 3),
            device=settings.device,
            jobs=jobs,
        ),
    )


def select(
    layers: Sequence[Layer], include: Sequence[str], exclude: Sequence[str]
) -> tuple[tuple[Layer, ...], tuple[Skipped, ...]]:
    """Split layers into those asked for and those left out, which stay on record.

    Raises
    ------
    UsageError
        If a pattern matches no layer: a typo must not turn into a smaller audit.
    """
    included, excluded = (_matching(layers, patterns) for patterns in (include, exclude))
    chosen = [
        layer
        for index, layer in enumerate(layers)
        if (not include or index in included) and index not in excluded
    ]
    if layers and not chosen:
        raise UsageError(
            "the patterns leave no layer to audit",
            help="`specaudit inspect MODEL` lists the names; take a pattern of --exclude away",
        )
    kept = {id(layer) for layer in chosen}
    left_out = tuple(
        Skipped(layer.name, layer.shape, LEFT_OUT) for layer in layers if id(layer) not in kept
    )
    return tuple(chosen), left_out


def _matching(layers: Sequence[Layer], patterns: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for pattern in patterns:
        matches = matcher(pattern)
        hits = {
            index
            for index, layer in enumerate(layers)
            if matches(layer.name) or (layer.node is not None and matches(layer.node))
        }
        if not hits:
            raise UsageError(
                f"no layer matches {pattern!r}",
                help="`specaudit inspect MODEL` lists the names; `*` stays within a dotted "
                "segment, `**` crosses",
            )
        found |= hits
    return found


def multiply(measurements: Iterable[Measurement]) -> Product:
    """Return the product of the layers' upper ends.

    Its status is the worst of its factors': one estimate makes it an estimate, one layer
    without a finite bound leaves it without one.
    """
    known = tuple(measurements)
    factors = [one for one in known if one.kind not in _OUTSIDE_PRODUCT]
    if not factors:
        reason = "there is no layer that multiplies"
        return Product(None, None, "not_computed", 0, _ASSUMES, reason)
    worst = max(factors, key=lambda one: _RANK.index(one.norm.status))
    if worst.norm.status != "certified":
        reason = f"the norm of {worst.name} is {worst.norm.status}"
        return Product(None, None, worst.norm.status, len(factors), _ASSUMES, reason)
    total: Magnitude = ONE
    for one in factors:
        total = total * Magnitude.of(one.norm.bracket.upper)
    kinds = {one.kind for one in known}
    outside = " and ".join(words for kind, words in _OUTSIDE_PRODUCT.items() if kind in kinds)
    assumes = _ASSUMES + (f"; {outside} are measured and stay out of it" if outside else "")
    upper, log10_upper = finite_or_none(total.upper), finite_or_none(total.log10_upper)
    return Product(upper, log10_upper, "certified", len(factors), assumes)


def bound_network(prepared: Prepared, measurements: Sequence[Measurement]) -> NetworkBound:
    """Return the bound over the real graph, or why there is none."""
    resolved = prepared.extraction.resolved
    if resolved is None:
        return NetworkBound.not_computed(
            "there is no graph in the file, so how its layers are connected is not known"
        )
    from specaudit import lipschitz

    by_node: dict[str, list[Layer]] = {}
    for layer in prepared.extraction.layers:
        if layer.node is not None:
            by_node.setdefault(layer.node, []).append(layer)
    layers = {node: tuple(found) for node, found in by_node.items()}
    return lipschitz.bound(
        resolved,
        layers,
        _norm_source(prepared, measurements),
        input_range=prepared.settings.input_range,
    )


def witness(prepared: Prepared, *, long: bool = False) -> "Witness | None":
    """Return a pair of inputs that shows how steep the network is.

    None where a short search is not worth its while, or finds nothing; a `long` one takes
    seconds, and raises `ModelError` with the reason why there is none.
    """
    from specaudit import witness as search

    model, settings = prepared.model, prepared.settings
    find = search.searched if long else search.glimpsed
    path = model.path if model.format == "onnx" else None
    return find(
        prepared.extraction.resolved,
        path,
        input_range=settings.input_range,
        seed=settings.seed,
    )


def with_lower(network: NetworkBound, found: "Witness | None") -> NetworkBound:
    """Return the bound with what a pair of inputs proves of it.

    Raises
    ------
    SpecauditError
        If the two contradict each other: one of the proofs has a bug, and none is reported.
    """
    if found is None or not found.lower:
        return network
    if network.upper is not None and found.lower > network.upper:
        raise SpecauditError(
            f"a pair of inputs has the slope {found.lower!r}, above the bound {network.upper!r}",
            help="a bug in specaudit: report it with the model",
        )
    return msgspec.structs.replace(network, lower=found.lower)


def _norm_source(
    prepared: Prepared, measurements: Sequence[Measurement]
) -> Callable[[Layer], Norm]:
    """Return what gives the operator norm of a layer: measured already, or measured now."""
    settings = msgspec.structs.replace(prepared.settings, conv="operator")
    known: dict[int, Norm] = {}
    for layer, measurement in zip(prepared.layers, measurements, strict=True):
        norm = measurement.operator_norm or measurement.norm
        if norm.of != "reshaped":
            known[id(layer)] = norm

    def norm_of(layer: Layer) -> Norm:
        if id(layer) not in known:
            known[id(layer)] = norms.measure(layer, settings).norm
            held.append(layer)  # keeps the id from being used again
        return known[id(layer)]

    held: list[Layer] = []
    return norm_of


def _describe(model: Model) -> ModelInfo:
    counted: Mapping[object, int] = {
        (weight.storage, weight.extent) if weight.storage else index: weight.size
        for index, weight in enumerate(model.weights)
        if weight.role != "optimizer"
    }
    return ModelInfo(
        path=model.path,
        sha256=model.digest(),
        format=model.format,
        parameters=sum(counted.values()),
        opset=model.graph.opsets.get("") if model.graph is not None else None,
        notes=model.notes,
    )
