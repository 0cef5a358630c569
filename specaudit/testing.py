"""For test suites: an assertion that is a proof.

>>> from specaudit.testing import assert_bounded
>>> assert_bounded("sample_models/mlp.onnx", max_norm=6.0, max_lipschitz=40.0)
<Report 'sample_models/mlp.onnx': 3 layers, 4 skipped, certified>
"""

import os
from functools import partial
from typing import TYPE_CHECKING

from specaudit import pipeline, policy
from specaudit.outputs import terminal
from specaudit.policy import Policy
from specaudit.report import Report, Settings

if TYPE_CHECKING:
    from torch import nn

    from specaudit.model import Model


def assert_bounded(
    model: "str | os.PathLike[str] | Model | nn.Module",
    *,
    max_norm: float | None = None,
    max_lipschitz: float | None = None,
    settings: Settings | None = None,
    rules: Policy | None = None,
) -> Report:
    """Fail unless every bound asked for is proved.

    Parameters
    ----------
    model : path, Model or torch.nn.Module
    max_norm : float, optional
        Limit on the norm of every layer.
    max_lipschitz : float, optional
        Limit on the Lipschitz bound of the network, which takes a graph.
    settings : Settings, optional
        What the numbers depend on.
    rules : Policy, optional
        Instead of the default rules.

    Returns
    -------
    Report
        What was found, for further assertions.

    Raises
    ------
    AssertionError
        With the block that ``specaudit check`` prints for each finding.
    ModelError
        If the model cannot be audited: that is no assertion about it.
    UsageError
        If `rules` leave out what `max_norm` or `max_lipschitz` ask for.
    """
    asked = (rules or Policy()).with_flags(max_norm=max_norm, max_lipschitz=max_lipschitz)
    policy.refuse_idle(asked, has_baseline=False)
    limit_of = partial(policy.norm_limit, policy=asked)
    report = pipeline.audit(model, settings=settings, limit_of=limit_of)
    verdict = policy.judge(report, asked)
    if verdict.exit_code:
        counted = [finding for finding in verdict.findings if finding.counts]
        raise AssertionError(
            "\n\n".join(terminal.block(finding, report.model.path) for finding in counted)
        )
    return report
