"""What every format says in words: the model, the bounds, the findings, what was left out."""

from collections.abc import Iterable, Iterator

from specaudit.outputs.escaping import size, visible
from specaudit.policy import RULES, Finding, Place, Verdict, figures
from specaudit.report import (
    Factor,
    Measurement,
    NetworkBound,
    Norm,
    Product,
    Report,
    Skipped,
    Spectrum,
)

KINDS = {
    "linear": "linear",
    "convolution": "conv",
    "convolution_transposed": "convᵀ",
    "recurrent": "recurrent",
    "embedding": "embedding",
    "bilinear": "bilinear",
    "scale": "scale",
}
OUTCOMES = {"pass": "PASS", "fail": "FAIL", "unproven": "UNPROVEN", "measured": "MEASURED"}


def model_line(report: Report) -> str:
    """Return what the file is: format, size, coverage."""
    model = report.model
    holes = sum(not skipped.covered for skipped in report.skipped)
    parts = [
        model.format + (f" opset {model.opset}" if model.opset is not None else ""),
        counted(model.parameters, "parameter"),
        counted(len(report.layers), "layer") + " measured",
    ]
    if report.skipped:
        parts.append(f"{len(report.skipped)} skipped")
    if holes:
        parts.append(f"{holes} not examined")
    return " · ".join(parts)


def norm_text(norm: Norm, limit: float | None = None) -> str:
    """Return a norm with its status: ``[1.5, 1.6] certified``."""
    if norm.status == "non_finite":
        return "NaN or Inf in the weight"
    if norm.status == "estimate" and norm.estimate is not None:
        chance = norm.failure_probability
        doubt = "" if chance is None else f", wrong with probability {figures.ceiling(chance)}"
        low = figures.floor(norm.lower or 0.0, limit)
        return f"[{low}, ∞) estimate {figures.ceiling(norm.estimate)}{doubt}"
    return f"{figures.interval(norm.lower, norm.upper, limit)} {norm.status.replace('_', ' ')}"


def upper_text(norm: Norm, limit: float | None = None) -> str:
    """Return the one number a narrow column has room for."""
    if norm.status == "non_finite":
        return "NaN"
    if norm.upper is None and norm.estimate is not None:
        return f"~{figures.ceiling(norm.estimate)}"
    return figures.ceiling(norm.upper, limit)


def spectrum_text(spectrum: Spectrum) -> str:
    """Return the leading singular values, the histogram as a row of blocks, the condition."""
    leading = ", ".join(f"{value:.6g}" for value in spectrum.leading[:5])
    text = f"σ ≈ {leading}{', …' if len(spectrum.leading) > 5 else ''}"
    highest = max(spectrum.histogram_counts, default=0)
    if highest:
        # Rounded up: a single value among thousands still shows.
        levels = [-(-8 * count // highest) for count in spectrum.histogram_counts]
        low, high = (
            10.0**edge for edge in (spectrum.histogram_edges[0], spectrum.histogram_edges[-1])
        )
        text += f"; {low:.2g} {''.join('·▁▂▃▄▅▆▇█'[level] for level in levels)} {high:.2g}"
    if spectrum.condition is not None:
        text += f"; condition ≈ {spectrum.condition:.4g}"
    return text


def noted(layers: Iterable[Measurement]) -> dict[str, list[str]]:
    """Return the notes on layers with the names of those that have them."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        for note in layer.notes:
            found.setdefault(note, []).append(layer.name)
    return found


def other_norm(layer: Measurement) -> Norm | None:
    """Return the norm of a convolution that is not the judged one."""
    return layer.operator_norm if layer.norm.of == "reshaped" else layer.reshaped_norm


def product_text(product: Product) -> str:
    """Return the product of the layers and what it assumes."""
    figure, terms = product_parts(product)
    return _joined(figure, "; ", terms)


def product_parts(product: Product) -> tuple[str, str]:
    """Return the figure, and what has to be said of it."""
    if product.upper is None and product.log10_upper is None:
        return product.status.replace("_", " "), visible(product.reason or "no reason given")
    status = "" if product.status == "certified" else f", {product.status.replace('_', ' ')}"
    layers = f" over {counted(product.layers, 'layer')}{status}"
    figure = f"≤ {figures.magnitude(product.upper, product.log10_upper)}{layers}"
    return figure, f"assumes that {visible(product.assumes)}" if product.assumes else ""


def network_text(network: NetworkBound) -> str:
    """Return the network bound, or why there is none."""
    figure, terms = network_parts(network)
    return _joined(figure, ", ", terms)


def _joined(figure: str, mark: str, terms: str) -> str:
    """Join a bound to what is said of it; where there is no bound, to the reason."""
    return f"{figure}{mark if figure.startswith('≤') else ': '}{terms}" if terms else figure


def network_parts(network: NetworkBound) -> tuple[str, str]:
    """Return the figure, and what has to be said of it."""
    lower = f"≥ {figures.floor(network.lower)} observed" if network.lower is not None else ""
    status = network.status.replace("_", " ")
    if network.upper is None and network.log10_upper is None:
        terms = [visible(network.reason) if network.reason else "", lower]
        return status, "; ".join(filter(None, terms))
    method = f" by {visible(network.method)}" if network.method else ""
    figure = f"≤ {figures.magnitude(network.upper, network.log10_upper)}"
    return figure, "; ".join(filter(None, [status + method, lower]))


def network_details(network: NetworkBound) -> Iterator[tuple[str, str]]:
    """Yield a label and a text for each further fact of the network bound."""
    yield from network_causes(network)
    yield from network_terms(network)


def network_causes(network: NetworkBound) -> Iterator[tuple[str, str]]:
    """Yield a label and a text for each node for which there is no bound."""
    causes = [("unbounded" if one.code else "undecided", one) for one in network.unbounded]
    for label, one in [*causes, *(("not modelled", one) for one in network.unmodelled)]:
        yield label, f"{visible(one.node)} ({visible(one.op)}): {visible(one.reason)}"


def network_terms(network: NetworkBound) -> Iterator[tuple[str, str]]:
    """Yield a label and a text for the bound by each input and for each assumption."""
    bounds = [(one.name, figures.magnitude(one.upper, one.log10_upper)) for one in network.inputs]
    if len(bounds) > 1 and any(bound != "∞" for _, bound in bounds):
        for name, bound in bounds:
            yield "input", f"{visible(name)}: {'no finite bound' if bound == '∞' else f'≤ {bound}'}"
    for text in network.assumptions:
        yield "assumes", visible(text)


def factor_text(factor: Factor) -> str:
    """Return one step of the path with its factor, rounded to nearest: a hint, not a bound."""
    if abs(factor.log10_factor) > 300:
        number = f"×10^{factor.log10_factor:.4g}"
    else:
        number = f"×{10.0**factor.log10_factor:.4g}"
    return f"{visible(factor.node)} ({visible(factor.op)}) {number}"


def stretching(factors: Iterable[Factor]) -> list[Factor]:
    """Return the steps whose factor is not 1, rounding aside."""
    return [factor for factor in factors if abs(factor.log10_factor) > 1e-9]


def skipped_groups(skipped: tuple[Skipped, ...]) -> dict[str, list[Skipped]]:
    """Return what was rightly left out, by reason, the largest group first."""
    groups: dict[str, list[Skipped]] = {}
    for one in skipped:
        if one.covered:
            groups.setdefault(one.reason, []).append(one)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def skipped_text(skipped: Skipped) -> str:
    """Return one tensor that was not measured, with its reason."""
    return f"{visible(skipped.name)} {size(skipped.shape)}: {visible(skipped.reason)}"


def title(finding: Finding) -> str:
    """Return ``error[SA201] layer norm over limit``."""
    return f"{label(finding)}[{finding.rule}] {RULES[finding.rule].title}"


def label(finding: Finding) -> str:
    """Return the word in front of a finding."""
    if finding.allowed is not None:
        return "allowed"
    return "unproven" if finding.verdict == "unproven" else finding.severity


def subject_of(finding: Finding) -> str:
    """Return the layer with its node, the node, or nothing."""
    if finding.layer is None:
        return visible(finding.node or "")
    node = f" ({visible(finding.node)})" if finding.node else ""
    return visible(finding.layer) + node


def allowed_text(finding: Finding) -> str:
    """Return why an allowed finding does not count."""
    if finding.allowed is None:
        return ""
    until = f" until {finding.allowed.expires}" if finding.allowed.expires else ""
    return f"allowed{until}: {visible(finding.allowed.reason)}"


def place_text(place: Place | None) -> str:
    """Return where the policy says it: ``specaudit.toml:12``."""
    if place is None:
        return ""
    return visible(place.path) + (f":{place.line}" if place.line is not None else "")


def tally(verdict: Verdict) -> str:
    """Return the counts of a verdict, zeros left out."""
    if not verdict.is_judged:
        count = len(verdict.findings)
        return "no policy applied" + (f", {counted(count, 'finding')}" if count else "")
    summary = verdict.summary
    parts = [
        f"{count} {word}"
        for count, word in (
            (summary.fail, "failed"),
            (summary.unproven, "unproven"),
            (summary.warn, "with a warning"),
            (summary.allowed, "allowed"),
            (summary.passed, "passed"),
        )
        if count
    ]
    return ", ".join(parts) or "nothing to judge"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
