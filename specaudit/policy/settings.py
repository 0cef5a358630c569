"""What a policy is made of: the tables of ``[tool.specaudit]``, in its spelling."""

from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from specaudit.policy.findings import Place
from specaudit.report import Measurement

Limit = Annotated[float, msgspec.Meta(ge=0)]
Unproven = Literal["fail", "warn", "pass"]


class Gates(msgspec.Struct, frozen=True, rename="kebab"):
    """Limits on the network as a whole."""

    max_lipschitz: Limit | None = None
    unbounded_ops: Literal["forbid", "warn", "allow"] = "forbid"
    min_coverage: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class LayerLimit(msgspec.Struct, frozen=True, rename="kebab"):
    """Limits on the layers that a pattern selects; an infinite `max_norm` lifts a limit.

    `op` names what applies the weight, as the graph does (``Gemm``) or by its kind.
    """

    match: str | list[str] = "**"
    op: str | list[str] | None = None
    max_norm: Limit | None = None
    max_condition: Limit | None = None
    flag: str | None = None


class Allowance(msgspec.Struct, frozen=True, rename="kebab"):
    """A finding that somebody took the responsibility for."""

    rule: str
    reason: str
    match: str | list[str] = "**"
    expires: date | None = None


class Policy(msgspec.Struct, frozen=True, rename="kebab"):
    """The rules of one project.

    Parameters
    ----------
    method, rtol, conv, input_shapes, input_range, seed
        As the command line's options of that name; None where the file is silent.
    unproven : {"fail", "warn", "pass"}
    select, ignore : tuple of str
        Codes of rules, or their beginnings (``SA2``), or ``ALL``; without `select` every
        rule that is on by default.
    baseline : str or None
        Path of the baseline, relative to the policy file.
    gates : Gates
    layers : tuple of LayerLimit
        Ordered; of the entries that match a layer the last one that sets a limit wins.
    allow : tuple of Allowance
    path : str
        The file this was read from; empty for the default.
    lines : dict
        Line of each key, by its path (``layers.0.max-norm``).
    flags : frozenset of str
        Keys that the command line set.
    """

    method: Literal["auto", "svd", "lanczos", "power"] | None = None
    rtol: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    conv: Literal["operator", "reshaped"] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None
    input_shapes: dict[str, tuple[Annotated[int, msgspec.Meta(ge=1)], ...]] = {}
    input_range: tuple[float, float] | dict[str, tuple[float, float]] | None = None
    unproven: Unproven = "fail"
    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    baseline: str | None = None
    gates: Gates = Gates()
    layers: tuple[LayerLimit, ...] = ()
    allow: tuple[Allowance, ...] = ()
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
