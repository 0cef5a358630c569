"""Clamp: the same model with only what is over its limit changed, and the result proved."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specaudit import formats, measuring, pipeline
from specaudit.errors import NotCertified, UnsupportedModel, UsageError
from specaudit.formats import writing
from specaudit.model import Model
from specaudit.operators import Layer
from specaudit.pipeline import Prepared
from specaudit.report import ClampedLayer, Clamping, Drift, Measurement, Report, Settings
from specaudit.rewrite import comparing
from specaudit.rewrite.bench import Bench, prepare
from specaudit.rewrite.clamping import Limit, bring_under, limits_of
from specaudit.rewrite.differences import changes, difference_of, refuse_zeros
from specaudit.rewrite.folding import followers
from specaudit.rewrite.modes import MODES, ModeName
from specaudit.rewrite.multiples import first_settings
from specaudit.rewrite.network import bring_network_under
from specaudit.rewrite.overlay import Overlay, same_bytes

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODES", "Request", "carry_out", "clamp"]

Observe = Callable[[Iterator[Measurement], Iterable[int]], Iterable[Measurement]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done to a model, and where the result goes; `clamp` says the rest."""

    limits: tuple[Limit, ...] = ()
    max_lipschitz: float | None = None
    mode: ModeName = "scale"
    layers: Sequence[str] = ()
    exclude: Sequence[str] = ()
    with_bias: bool = False
    fold_batchnorm: bool = False
    out: str | None = None
    force: bool = False
    compare: int | None = None


def clamp(
    model: "str | os.PathLike[str] | nn.Module",
    max: float | Mapping[str, float] | None = None,  # what the option is called
    *,
    max_lipschitz: float | None = None,
    out: str | os.PathLike[str] | None = None,
    mode: ModeName = "scale",
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    with_bias: bool = False,
    fold_batchnorm: bool = False,
    settings: Settings | None = None,
    force: bool = False,
    trust: bool = False,
) -> Clamping:
    """Bring the norms of a model's weights under a limit.

    Parameters
    ----------
    model : path or torch.nn.Module
        A live module is changed in place.
    max : float or mapping of pattern to float, optional
        The limit of every layer; or of those that a pattern matches, the last match wins.
    max_lipschitz : float, optional
        The limit of the network's bound (of the product, for a bare checkpoint), split over
        the layers so that the weights change least.
    out : path, optional
        The file to write. Without one nothing is written, and the result says what would be.
    mode : {"scale", "project"}
        Multiples of the weights, or the nearest weights in the Frobenius norm.
    layers, exclude : sequence of str
        Patterns of the layers that may be changed, and of those that may not.
    with_bias : bool
        Scale the biases along, so that a positively homogeneous network becomes an exact
        multiple of itself.
    fold_batchnorm : bool
        Hold the map of a convolution and the batch norm behind it to the limit of the
        convolution, by the batch norm's scale.
    settings : Settings, optional
    force : bool
        Replace an existing `out`.
    trust : bool
        As for `audit`.

    Returns
    -------
    Clamping
        Every layer before and after.

    Raises
    ------
    NotCertified
        If a limit is not proved in the stored type. Nothing is then written.
    UsageError
        If nothing is asked for, a pattern matches nothing, `out` exists or is the input.
    ModelError
        If the file is not readable, or a weight over its limit cannot be written.

    Examples
    --------
    >>> import specaudit
    >>> result = specaudit.clamp("sample_models/mlp.pt", max=1.0)
    >>> all(layer.after.upper <= 1.0 for layer in result.layers)
    True
    """
    limits: tuple[Limit, ...] = ()
    if isinstance(max, Mapping):
        limits = tuple(max.items())
    elif max is not None:
        limits = ((None, max),)
    request = Request(
        limits=limits,
        max_lipschitz=max_lipschitz,
        mode=mode,
        layers=layers,
        exclude=exclude,
        with_bias=with_bias,
        fold_batchnorm=fold_batchnorm,
        out=None if out is None else os.fspath(out),
        force=force,
    )
    return carry_out(model, request, settings or Settings(), trust=trust)


def carry_out(
    model: "str | os.PathLike[str] | nn.Module",
    request: Request,
    settings: Settings,
    *,
    jobs: int = 1,
    trust: bool = False,
    observe: Observe = lambda measured, sizes: measured,
) -> Clamping:
    """Carry out a request; `observe` sees the measurements of the model as it was go by."""
    _check(request)
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        if request.out is not None and not os.path.isdir(request.out):
            writing.check_target(request.out, inputs=[path], force=request.force)
        loaded = formats.load(path, trust=trust)
    else:
        from specaudit.formats import module  # imports torch

        if request.out is not None:
            raise UsageError("a live module is changed in place: there is no file to write")
        loaded = module.load(model)
    if request.compare is not None:
        comparing.check(loaded.format)
    with closing(Overlay(loaded, _folder(request.out))) as overlay:
        prepared = prepare(overlay.model, settings, fold=request.fold_batchnorm)
        if request.with_bias and loaded.graph is None:
            raise UsageError("--with-bias needs a graph, which a bare checkpoint does not hold")
        chosen, left_out = pipeline.select(prepared.layers, request.layers, request.exclude)
        limits = limits_of(prepared.layers, chosen, request.limits)
        if request.fold_batchnorm:
            behind = followers(prepared.extraction)
            limits = [
                None if layer.kind == "scale" and layer.node in behind else limit
                for layer, limit in zip(prepared.layers, limits, strict=True)
            ]
        sizes = map(measuring.weight_bytes, prepared.layers)
        closely = _settings_of(prepared, limits) if request.mode == "scale" else None
        found = pipeline.measure(prepared, jobs=jobs, settings_of=closely)
        measured = tuple(observe(found, sizes))
        before = pipeline.compose(prepared, measured, jobs=jobs)
        bench = Bench.of(overlay, prepared, measured, fold=request.fold_batchnorm)
        bring_under(bench, limits, request.mode)
        split: tuple[str, ...] = ()
        if request.max_lipschitz is not None:
            split = bring_network_under(bench, chosen, request.max_lipschitz, request.mode)
            bring_under(bench, limits, request.mode)
        bench.current()
        biases, notes = _biases(bench, loaded) if request.with_bias else ((), ())
        after = _report(bench, jobs) if len(overlay) else before
        layers = changes(loaded, bench, before, limits, jobs=jobs)
        refuse_zeros(layers, request.max_lipschitz, before.model.path)
        written = None
        if loaded.format == "module":
            _apply(loaded, overlay)
        elif request.out is not None:
            judge = _Judge(bench)
            written = formats.save(loaded, overlay, request.out, force=request.force, verify=judge)[
                -1
            ]
    drift, remarks = _drift(loaded, written, request, settings)
    return Clamping(
        source=before.model,
        output=written,
        mode=request.mode,
        settings=settings,
        layers=layers,
        skipped=before.skipped + left_out,
        products=(before.product, after.product),
        networks=(before.network, after.network),
        max_lipschitz=request.max_lipschitz,
        comparison=drift,
        biases=biases,
        notes=(*split, *notes, *remarks, *_remarks(prepared, layers, request)),
    )


def _settings_of(prepared: Prepared, limits: Sequence[float | None]) -> Callable[[Layer], Settings]:
    limit_of = {id(layer): limit for layer, limit in zip(prepared.layers, limits, strict=True)}
    return lambda layer: first_settings(layer, limit_of[id(layer)], prepared.settings)


def _drift(
    model: Model, written: str | None, request: Request, settings: Settings
) -> tuple[Drift | None, tuple[str, ...]]:
    """Return what the outputs do; the file is written and proved whether they can be had or not."""
    if request.compare is None or written is None:
        return None, ()
    try:
        drift = comparing.compare(
            model.path,
            written,
            request.compare,
            shapes=settings.input_shapes,
            seed=settings.seed,
        )
    except UnsupportedModel as problem:
        return None, (f"no comparison: {problem.message}",)
    return drift, ()


def _check(request: Request) -> None:
    if not request.limits and request.max_lipschitz is None:
        raise UsageError("no limit is given", help="--max F, --max GLOB=F or --max-lipschitz L")
    if request.mode not in MODES:
        raise UsageError(f"no mode {request.mode!r}", help=f"one of {', '.join(MODES)}")
    if request.with_bias and (request.mode != "scale" or request.fold_batchnorm):
        raise UsageError("--with-bias goes with --mode scale, and not with --fold-batchnorm")
    if request.fold_batchnorm and request.max_lipschitz is not None:
        raise UsageError("--fold-batchnorm goes with --max, not with --max-lipschitz")


def _folder(out: str | None) -> str | None:
    """Return where values that memory does not hold may be put: where the result goes."""
    folder = os.path.dirname(out) or "." if out is not None else None
    return folder if folder is not None and os.path.isdir(folder) else None


def _report(bench: Bench, jobs: int) -> Report:
    measured = tuple(bench.measured)
    if bench.prepared.model.graph is not None:
        bench.refresh()  # nothing that a graph folded from old values stays
    return pipeline.compose(bench.prepared, measured, jobs=jobs)


def _biases(bench: Bench, original: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scale the biases along with the weights that were scaled."""
    from specaudit.rewrite.biases import scale_biases  # with it what folds graphs, 25 ms

    resolved = bench.prepared.extraction.resolved
    assert resolved is not None
    factors: dict[str, float] = {}
    for old, new in zip(bench.prepare(original).layers, bench.layers, strict=True):
        difference = difference_of(old, new)
        factor = 1.0 if difference is None else difference.factor
        if new.node is not None and factors.setdefault(new.node, factor) != factor:
            raise UsageError(
                "--with-bias: its matrices are scaled differently",
                where=new.node,
                help="leave --with-bias out: the weights alone then change",
            )
    return scale_biases(resolved, factors, bench.overlay)


def _remarks(
    prepared: Prepared, layers: Sequence[ClampedLayer], request: Request
) -> tuple[str, ...]:
    """Return what has to be known of batch norms."""
    linear = any(row.is_changed and row.kind not in ("scale", "embedding") for row in layers)
    running = any(weight.name.endswith("running_var") for weight in prepared.model.weights) or bool(
        followers(prepared.extraction)
    )
    if not linear or not running or request.fold_batchnorm:
        return ()
    return (
        "batch norms that stand behind a clamped weight undo its factor in training mode, and "
        "in eval mode keep the statistics of before; --fold-batchnorm clamps the two as one map",
    )


class _Judge:
    """Says whether a model that was written is the one that was proved."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def __call__(self, written: Model) -> None:
        """Raise unless every layer reads as the very values that were measured.

        Notes
        -----
        The certificate is about values, and these are compared bit by bit; measuring them
        once more could not say more.
        """
        found = self.bench.prepare(written).layers
        proved = self.bench.layers
        names = [(layer.name, layer.node) for layer in proved]
        if [(layer.name, layer.node) for layer in found] != names:
            raise NotCertified("the file that was written has other layers", where=written.path)
        for ours, theirs in zip(proved, found, strict=True):
            if ours.geometry != theirs.geometry or not same_bytes(ours.read(), theirs.read()):
                raise NotCertified(
                    "SA501: what was written is not what was proved",
                    where=f"{written.path} › {ours.name}",
                )


def _apply(model: Model, overlay: Overlay) -> None:
    """Copy new values into the tensors of a live module."""
    import torch

    with torch.no_grad():
        for weight in model.weights:
            if weight.name in overlay:
                tensor = weight.source
                assert isinstance(tensor, torch.Tensor)
                values = np.ascontiguousarray(overlay[weight.name])
                raw = torch.from_numpy(values.reshape(-1).view(np.uint8)).view(tensor.dtype)
                tensor.copy_(raw.reshape(tensor.shape))
