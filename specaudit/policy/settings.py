"""What a policy is made of: the tables of ``[tool.specaudit]``, in its spelling."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, get_args, get_origin

import msgspec
from msgspec.structs import replace

from specaudit.policy.findings import Place
from specaudit.report import Measurement

Unproven = Literal["fail", "warn", "pass"]
Size = Annotated[int, msgspec.Meta(ge=1)]


def _said(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


def _limit(description: str) -> msgspec.Meta:
    return msgspec.Meta(ge=0, description=description)


class Gates(msgspec.Struct, frozen=True, rename="kebab"):
    """Limits on the network as a whole."""

    max_lipschitz: Annotated[
        Annotated[float, _limit("")] | None, _said("largest network bound that passes (SA301)")
    ] = None
    unbounded_ops: Annotated[
        Literal["forbid", "warn", "allow"],
        _said("what an operation without a finite constant does (SA302)"),
    ] = "forbid"
    min_coverage: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="share of tensors to be measured (SA003)")
    ] = 1.0


class LayerLimit(msgspec.Struct, frozen=True, rename="kebab"):
    """Limits on the layers that a pattern selects; of those that match, the last one wins."""

    match: Annotated[
        str | list[str],
        _said("names of weights or nodes: * within a dotted segment, ** across, re: a regex"),
    ] = "**"
    op: Annotated[
        str | list[str] | None, _said("operations that apply the weight (Gemm), or kinds (linear)")
    ] = None
    max_norm: Annotated[
        Annotated[float, _limit("")] | None, _said("largest norm that passes (SA201); inf lifts it")
    ] = None
    max_condition: Annotated[
        Annotated[float, _limit("")] | None, _said("largest condition number that passes (SA202)")
    ] = None
    flag: str | None = None


class Allowance(msgspec.Struct, frozen=True, rename="kebab"):
    """A finding that somebody took the responsibility for: silenced, never unmeasured."""

    rule: Annotated[str, _said("the code of the rule")]
    reason: Annotated[str, _said("why the finding may stand; mandatory")]
    match: Annotated[str | list[str], _said("names of the weights or nodes concerned")] = "**"
    expires: Annotated[date | None, _said("the last day on which it holds")] = None


class Policy(msgspec.Struct, frozen=True, rename="kebab"):
    """The rules of one project: the tables of the configuration, and where they stand.

    Parameters
    ----------
    path : str
        The file this was read from; empty for the default.
    lines : dict
        Line of each key, by its path (``layers.0.max-norm``).
    flags : frozenset of str
        Keys that the command line set.

    The other fields are the keys of the file; `specaudit explain config` describes them.
    """

    method: Annotated[Literal["auto", "svd", "lanczos", "power"] | None, _said("as --method")] = (
        None
    )
    rtol: Annotated[Annotated[float, msgspec.Meta(gt=0, lt=1)] | None, _said("as --rtol")] = None
    conv: Annotated[Literal["operator", "reshaped"] | None, _said("as --conv")] = None
    seed: Annotated[Annotated[int, _limit("")] | None, _said("as --seed")] = None
    input_shapes: Annotated[
        dict[str, tuple[Size, ...]], _said("shape of each input: { image = [1, 3, 224, 224] }")
    ] = {}
    input_range: Annotated[
        tuple[float, float] | dict[str, tuple[float, float]] | None,
        _said("domain of the inputs: [0, 1], or { image = [0, 1] }"),
    ] = None
    unproven: Annotated[Unproven, _said("what is neither proved nor disproved does")] = "fail"
    select: Annotated[
        tuple[str, ...] | None, _said("codes of the rules to enforce, or their beginnings, or ALL")
    ] = None
    ignore: Annotated[tuple[str, ...], _said("codes of rules not to enforce")] = ()
    baseline: Annotated[str | None, _said("path of the baseline, from this file's folder")] = None
    gates: Annotated[Gates, _said("limits on the network")] = Gates()
    layers: Annotated[tuple[LayerLimit, ...], _said("limits on layers, in order")] = ()
    allow: Annotated[tuple[Allowance, ...], _said("findings that may stand")] = ()
    path: str = ""
    lines: dict[str, int] = {}
    flags: frozenset[str] = frozenset()

    def with_flags(
        self,
        *,
        max_norm: float | None = None,
        max_lipschitz: float | None = None,
        unproven: Unproven | None = None,
        select: tuple[str, ...] | None = None,
        ignore: tuple[str, ...] | None = None,
    ) -> "Policy":
        """Return the policy as the command line overrides it; None leaves a thing as it is."""
        layers, gates = self.layers, self.gates
        if max_norm is not None:
            layers = (*layers, LayerLimit(max_norm=max_norm, flag="--max-norm"))
        if max_lipschitz is not None:
            gates = replace(gates, max_lipschitz=max_lipschitz)
        return replace(
            self,
            layers=layers,
            gates=gates,
            unproven=unproven or self.unproven,
            select=self.select if select is None else select,
            ignore=self.ignore if ignore is None else ignore,
            flags=self.flags | ({"max-lipschitz"} if max_lipschitz is not None else set()),
        )

    def place(self, *keys: str | int) -> Place | None:
        """Return where a key stands, or the nearest table around it."""
        if keys and keys[-1] in self.flags:
            return Place(f"--{keys[-1]}")
        if not self.path:
            return None
        for end in range(len(keys), 0, -1):
            line = self.lines.get(".".join(map(str, keys[:end])))
            if line is not None:
                return Place(self.path, line)
        return Place(self.path)


# What a layer of a bare checkpoint may be called by, where no graph names its operation.
_OPS_OF_KIND = {
    "linear": {"Gemm", "MatMul"},
    "convolution": {"Conv"},
    "convolution_transposed": {"ConvTranspose"},
    "recurrent": {"RNN", "GRU", "LSTM"},
    "embedding": {"Gather"},
    "bilinear": {"Bilinear"},
    "scale": {"BatchNormalization", "LayerNormalization", "Mul"},
}


def operations(layer: Measurement) -> set[str]:
    """Return the names under which ``op`` finds a layer."""
    named = {layer.op} if layer.op else _OPS_OF_KIND[layer.kind]
    return {layer.kind, *named}


def listed(value: str | list[str] | None) -> tuple[str, ...]:
    """Return one text or several as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def choices(kind: object) -> Iterator[str]:
    """Yield the words that a field of this type may hold, where they are few."""
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif get_origin(kind) is not None:
        for part in get_args(kind):
            yield from choices(part)
