"""The rules: the table that names, explains and finds."""

from collections.abc import Callable
from dataclasses import dataclass

from specaudit.policy import checks
from specaudit.policy.checks import Findings
from specaudit.policy.settings import Policy
from specaudit.report import Report


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table; `check` is None where another part of the tool makes the finding.

    `default` says whether the rule is enforced unless ``select`` says otherwise; most of
    those have nothing to say until the configuration sets a limit.
    """

    code: str
    title: str
    explanation: str
    remedy: str
    check: Callable[[Report, Policy], Findings] | None = None
    default: bool = True


_ROWS = (
    Rule(
        "SA001",
        "unreadable model",
        "The file could not be audited: damaged, truncated, hostile, of an unknown format, or "
        "without weights. What was not read is not known to be bounded, so this is never "
        "green; the exit code is 3.",
        "Read the error on stderr. A Git LFS pointer wants `git lfs pull`; a shard that is "
        "missing wants to be put beside its index.",
    ),
    Rule(
        "SA002",
        "layer kind not modelled",
        "The graph holds an operation on the way from input to output for which there is no "
        "rule. It is never counted as 1: the network has no bound until the operation has one.",
        "`specaudit explain OP` says which operations are known. Rewrite the node in terms of "
        "those, cut the graph before it, or allow the finding with a reason.",
        checks.not_modelled,
    ),
    Rule(
        "SA003",
        "coverage below minimum",
        "Coverage is the share of tensors that were measured, among those that had to be: "
        "what is rightly left out (index tables, running statistics) counts on neither side. "
        "Below `gates.min-coverage` (default 1.0) each tensor that was not examined is a "
        "finding. A file in which nothing was measured always is one.",
        "The reason stands beside each name. Allow a tensor by name with "
        '`[[tool.specaudit.allow]] rule = "SA003"`, or lower `gates.min-coverage`.',
        checks.coverage,
    ),
    Rule(
        "SA004",
        "assumption made",
        "The network bound holds under an assumption that the file does not prove, for "
        "example that token ids select rows of an embedding and the bound starts at its "
        "output. Off by default.",
        "Give the tool what it had to assume (`--input-shape`, `--input-range`), or leave the "
        "rule off.",
        checks.assumption,
        default=False,
    ),
    Rule(
        "SA005",
        "dead policy entry",
        "An entry of `layers` selects no layer of any audited model: a limit somebody relies "
        "on is enforced nowhere. An allowance that silences nothing is only a warning.",
        "Correct the pattern (`*` stays within a dotted segment, `**` crosses), or delete the "
        "entry.",
    ),
    Rule(
        "SA006",
        "expired allowance",
        "The date in `expires` has passed. The allowance silences nothing any more.",
        "Mend the finding, or renew the allowance with a new date.",
    ),
    Rule(
        "SA101",
        "NaN or Inf in a weight",
        "A weight that is not finite has no norm, and whatever it touches has none either.",
        "The model is broken or the file damaged: go back to a checkpoint before training "
        "diverged.",
        checks.non_finite,
    ),
    Rule(
        "SA102",
        "zero weight",
        "Every entry of the weight is zero: the layer passes nothing on. Off by default, since "
        "fresh adapters and zero-initialised residual branches are like this on purpose.",
        "Check that the tensor was loaded and trained; else leave the rule off.",
        checks.zero_weight,
        default=False,
    ),
    Rule(
        "SA201",
        "layer norm over limit",
        "The spectral norm of a layer is compared with the `max-norm` of the last entry of "
        "`layers` that matches it. PASS means that the upper end of its interval is at or "
        "below the limit, FAIL that the lower end is above it; everything else is UNPROVEN. "
        "Exact binary64 values are compared, never rounded ones.",
        "`specaudit clamp MODEL --max LIMIT -o OUT` scales the layer down and proves the "
        "result. Where the finding is UNPROVEN, a smaller `--rtol` narrows the interval.",
        checks.layer_norm,
    ),
    Rule(
        "SA202",
        "condition number over limit",
        "The ratio of the largest to the smallest singular value exceeds `max-condition`. It "
        "needs the whole spectrum (`--spectrum`); its interval rests on LAPACK's backward "
        "error bound, where a norm's is verified.",
        "Regularise the layer, or raise the limit.",
        checks.condition_number,
    ),
    Rule(
        "SA301",
        "network bound over limit",
        "The Lipschitz bound over the graph is compared with `gates.max-lipschitz` "
        "(`--max-lipschitz`). A bare checkpoint has no graph: its bound is not computed, and "
        "the product of its layers never stands in for it.",
        "`specaudit clamp MODEL --max-lipschitz LIMIT -o OUT` splits the reduction over the "
        "layers. For a checkpoint, export the model to ONNX and check that.",
        checks.network_bound,
    ),
    Rule(
        "SA302",
        "unbounded op on a path from input to output",
        "An operation has no finite Lipschitz constant on the values that can reach it, so "
        "the network has none that could be given. Where a graph's bound could not be "
        "computed at all, this is UNPROVEN. `gates.unbounded-ops` = forbid, warn or allow.",
        "`--input-range LO,HI` bounds the inputs and makes many such operations finite; "
        "`specaudit explain OP` says when.",
        checks.unbounded_op,
    ),
    Rule(
        "SA303",
        "layer without a finite bound",
        "No finite upper end is proved for a layer's norm: only an estimate is known, or the "
        "algorithm gave up.",
        "Use `--method auto` or `svd`, drop `--no-certify`, or raise the memory limit.",
        checks.unbounded_layer,
    ),
    Rule(
        "SA401",
        "regression against the baseline",
        "A finding that the baseline knows has become worse: the new lower end lies above the "
        "old upper end, or a bound that was finite no longer is. The baseline knows a model by "
        "its path from the folder of the baseline.",
        "Mend it, or accept it by writing the baseline anew (`--write-baseline`).",
    ),
    Rule(
        "SA501",
        "clamp postcondition missed",
        "A clamped tensor, rounded to its stored type and read again, could not be proved to "
        "obey its limit. Nothing was written.",
        "A limit a little lower leaves room for rounding; `--rtol` narrows the interval.",
    ),
    Rule(
        "SA502",
        "clamped tensor shared by several layers",
        "The tensor is tied: clamping it once changed every layer that uses it.",
        "Nothing need be done where that is meant; else untie the weight first.",
    ),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in _ROWS}
