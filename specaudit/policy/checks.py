"""The checks behind the rules: a small function each, from the facts to findings."""

import math
from collections.abc import Iterator

from specaudit.policy import figures
from specaudit.policy.findings import Finding, Observed, Place, Verdicts
from specaudit.policy.patterns import any_matcher
from specaudit.policy.settings import LayerLimit, Policy, listed, operations
from specaudit.report import Measurement, Norm, Report

Findings = Iterator[Finding]


def limit_of(
    layer: Measurement, policy: Policy, name: str = "max_norm"
) -> tuple[float, Place | None, LayerLimit] | None:
    """Return the limit of a layer, the line that set it and its entry: the last match wins."""
    for index in range(len(policy.layers) - 1, -1, -1):
        entry = policy.layers[index]
        value: float | None = getattr(entry, name)
        if value is not None and applies(entry, layer):
            if value == math.inf:
                return None
            key = name.replace("_", "-")
            place = Place(entry.flag) if entry.flag else policy.place("layers", index, key)
            return value, place, entry
    return None


def norm_limit(layer: Measurement, policy: Policy) -> float | None:
    """Return the number that a layer's norm is held against."""
    found = limit_of(layer, policy)
    return found[0] if found else None


def applies(entry: LayerLimit, layer: Measurement) -> bool:
    """Whether an entry of the policy selects a layer, by its name, its node and its op."""
    match = any_matcher(listed(entry.match))
    named = match(layer.name) or (layer.node is not None and match(layer.node))
    return named and (entry.op is None or not operations(layer).isdisjoint(listed(entry.op)))


def not_modelled(report: Report, policy: Policy) -> Findings:
    """SA002: each operation without a rule."""
    for node in report.network.unmodelled:
        yield Finding("SA002", "unproven", f"{node.op}: {node.reason}", node=node.node)


def coverage(report: Report, policy: Policy) -> Findings:
    """SA003: each tensor that was not examined, where too few were."""
    holes = [skipped for skipped in report.skipped if not skipped.covered]
    total = len(report.layers) + len(holes)
    share = len(report.layers) / total if total else 0.0
    minimum = policy.gates.min_coverage
    place = policy.place("gates", "min-coverage")
    if not report.layers:
        yield Finding("SA003", "fail", "nothing was measured", limit=minimum, place=place)
    if share >= minimum:
        return
    percent = f"{figures.floor(100 * share, digits=4)} % of {total} tensors were examined"
    for hole in holes:
        message = f"not examined: {hole.reason} ({percent})"
        observed = Observed(share, share)
        yield Finding("SA003", "fail", message, hole.name, None, observed, minimum, place=place)


def assumption(report: Report, policy: Policy) -> Findings:
    """SA004: each assumption of the network bound."""
    for text in report.network.assumptions:
        yield Finding("SA004", "fail", f"the network bound assumes: {text}")


def non_finite(report: Report, policy: Policy) -> Findings:
    """SA101: each weight with NaN or infinity."""
    for layer in report.layers:
        if layer.norm.status == "non_finite":
            message = layer.norm.reason or "the weight holds NaN or infinity"
            yield Finding("SA101", "fail", message, layer.name, layer.node)


def zero_weight(report: Report, policy: Policy) -> Findings:
    """SA102: each weight that is zero throughout."""
    for layer in report.layers:
        if layer.norm.upper == 0.0:
            message = "every entry is zero: nothing passes this layer"
            yield Finding("SA102", "fail", message, layer.name, layer.node, Observed(0.0, 0.0))


def layer_norm(report: Report, policy: Policy) -> Findings:
    """SA201: each norm that is not proved to be within its limit."""
    for layer in report.layers:
        found = limit_of(layer, policy)
        if found is None:
            continue
        limit, place, _ = found
        norm = layer.norm
        verdict = compared(norm.lower, norm.upper, limit)
        if verdict is not None:
            message = norm_message(norm, limit, verdict)
            observed = Observed(norm.lower, norm.upper)
            yield Finding(
                "SA201", verdict, message, layer.name, layer.node, observed, limit, place=place
            )


def condition_number(report: Report, policy: Policy) -> Findings:
    """SA202: each condition number that is not within its limit."""
    for layer in report.layers:
        found = limit_of(layer, policy, "max_condition")
        if found is None:
            continue
        limit, place, _ = found
        lower, upper = condition_bracket(layer)
        verdict = compared(lower, upper, limit)
        if verdict is None:
            continue
        if lower is None:
            message = "condition number not computed: ask for the spectrum (--spectrum)"
        else:
            shown = figures.interval(lower, upper, limit)
            message = f"condition number {shown}: {_relation(verdict)} {figures.exact(limit)}"
        observed = Observed(lower, upper)
        yield Finding(
            "SA202", verdict, message, layer.name, layer.node, observed, limit, place=place
        )


def network_bound(report: Report, policy: Policy) -> Findings:
    """SA301: the network bound, where it is not proved to be within its limit."""
    limit = policy.gates.max_lipschitz
    if limit is None or limit == math.inf:
        return
    network = report.network
    verdict = compared(network.lower, network.upper, limit)
    if verdict is None:
        return
    if network.upper is None and network.log10_upper is None:
        message = f"no finite bound: {network.reason or _first_reason(report) or network.status}"
    else:
        low = figures.floor(network.lower or 0.0, limit)
        high = figures.magnitude(network.upper, network.log10_upper, limit)
        message = (
            f"Lipschitz constant in [{low}, {high}]: {_relation(verdict)} {figures.exact(limit)}"
        )
    observed = Observed(network.lower, network.upper)
    place = policy.place("gates", "max-lipschitz")
    yield Finding("SA301", verdict, message, observed=observed, limit=limit, place=place)


def unbounded_op(report: Report, policy: Policy) -> Findings:
    """SA302: each operation without a finite constant, or a graph without a bound."""
    if policy.gates.unbounded_ops == "allow":
        return
    place = policy.place("gates", "unbounded-ops")
    network = report.network
    for node in network.unbounded:
        verdict: Verdicts = "fail"
        message = f"{node.op} has no finite constant: {node.reason}"
        if node.code is None:  # a size or a value is missing: it may yet have one
            verdict, message = "unproven", f"{node.op} has no constant so far: {node.reason}"
        if policy.gates.unbounded_ops == "warn":
            verdict = "warn"
        yield Finding("SA302", verdict, message, node=node.node, place=place)
    bounded = network.upper is not None or network.log10_upper is not None
    explained = network.unbounded or network.unmodelled
    if report.model.opset is not None and not bounded and not explained:
        # A graph whose bound could not be computed may hide anything.
        message = f"no network bound: {network.reason or network.status}"
        yield Finding("SA302", "unproven", message, place=place)


def unbounded_layer(report: Report, policy: Policy) -> Findings:
    """SA303: each layer without a finite bound."""
    for layer in report.layers:
        norm = layer.norm
        if norm.upper is None and norm.status != "non_finite":  # SA101 has the latter
            message = f"no finite bound is proved: {_why_unproved(norm)}"
            observed = Observed(norm.lower, None)
            yield Finding("SA303", "unproven", message, layer.name, layer.node, observed)


def postcondition_missed(name: str, observed: Observed, limit: float) -> Finding:
    """Return the finding that a clamped tensor, as stored, is not proved to obey its limit."""
    shown = figures.interval(observed.lower, observed.upper, limit)
    message = f"after clamping the norm is {shown}: not proved <= {figures.exact(limit)}"
    verdict = compared(observed.lower, observed.upper, limit) or "unproven"
    return Finding("SA501", verdict, message, name, None, observed, limit)


def shared_tensor(name: str, consumers: tuple[str, ...]) -> Finding:
    """Return the finding that a clamped tensor changes several layers at once."""
    message = f"clamped once for {len(consumers)} layers: {', '.join(consumers)}"
    return Finding("SA502", "warn", message, name, severity="warning")


def compared(lower: float | None, upper: float | None, limit: float) -> Verdicts | None:
    """Return None where ``<= limit`` is proved, else ``fail`` (disproved) or ``unproven``."""
    if upper is not None and upper <= limit:  # false for a NaN, which must not pass
        return None
    return "fail" if lower is not None and lower > limit else "unproven"


def condition_bracket(layer: Measurement) -> tuple[float | None, float | None]:
    """Bracket the condition number by LAPACK's backward error and Weyl's inequality.

    Each computed singular value is within ``p eps sigma_1`` of a true one, so that the
    smallest, and the ratio with it, is uncertain by a share of ``p eps`` times the ratio.
    ``p = 8 (m + n)`` is generous against every bound in the LAPACK guide; unlike a norm's,
    this bracket rests on LAPACK having worked.
    """
    if layer.spectrum is None or layer.spectrum.condition is None or not layer.shape:
        return None, None
    condition = layer.spectrum.condition
    rows = layer.shape[0]
    share = 8 * (rows + math.prod(layer.shape[1:])) * 2.0**-53
    upper = condition * (1 + share) / (1 - share * condition) if share * condition < 1 else None
    return max(1.0, condition * (1 - share) / (1 + share * condition)), upper


def norm_message(norm: Norm, limit: float, verdict: str) -> str:
    """Return the sentence on a norm and its limit."""
    kind = {"operator": "operator norm", "reshaped": "reshaped-kernel norm"}.get(
        norm.of or "", "spectral norm"
    )
    if norm.upper is None:
        return f"{kind} not proved <= {figures.exact(limit)}: {_why_unproved(norm)}"
    shown = figures.interval(norm.lower, norm.upper, limit)
    return f"{kind} {shown}: {_relation(verdict)} {figures.exact(limit)}"


def _relation(verdict: str) -> str:
    return "proved >" if verdict == "fail" else "not proved <="


def _why_unproved(norm: Norm) -> str:
    if norm.reason:
        return norm.reason
    if norm.status != "estimate" or norm.estimate is None:
        return norm.status.replace("_", " ")
    value = f"only an estimate, {figures.ceiling(norm.estimate)}"
    if norm.failure_probability is None:
        return value
    return f"{value}, wrong with probability up to {figures.ceiling(norm.failure_probability)}"


def _first_reason(report: Report) -> str:
    for node in (*report.network.unbounded, *report.network.unmodelled):
        return f"{node.op}: {node.reason}"
    return ""
