"""The five commands."""

from typing import Annotated, Literal

import typer

from specaudit import __version__
from specaudit.cli.options import (
    Models,
    OneModel,
    Shared,
    with_shared,
    with_shared_pages,
    with_shared_talk,
)

app = typer.Typer(
    name="specaudit",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Audits neural networks for spectral norms and Lipschitz bounds: every number is an "
    "interval that is proved to hold.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"specaudit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("-V", "--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Audits neural networks: proved spectral norms, certified Lipschitz bounds."""


@app.command()
@with_shared
def inspect(
    models: Models,
    sort: Annotated[
        Literal["depth", "norm", "name"], typer.Option(help="Order of the layers, in text.")
    ] = "depth",
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Only the first N in that order, in text; other formats hold every layer.",
        ),
    ] = None,
    spectrum: Annotated[
        bool, typer.Option("--spectrum", help="Leading singular values and a histogram per layer.")
    ] = False,
    witness: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            help="Search longer for two inputs that prove a lower bound of the network, and keep "
            "them here.",
        ),
    ] = None,
    *,
    shared: Shared,
) -> int:
    """Measure and show. Findings never change the exit code."""
    from specaudit.cli import audits

    return audits.inspect(models, shared, sort=sort, top=top, spectrum=spectrum, witness=witness)


@app.command()
@with_shared
def check(
    models: Models,
    max_norm: Annotated[
        float | None,
        typer.Option("--max-norm", metavar="F", help="Limit on every layer's norm (SA201)."),
    ] = None,
    max_lipschitz: Annotated[
        float | None,
        typer.Option("--max-lipschitz", metavar="F", help="Limit on the network bound (SA301)."),
    ] = None,
    select: Annotated[
        str | None, typer.Option(metavar="CODES", help="Only these rules, joined by commas.")
    ] = None,
    ignore: Annotated[str | None, typer.Option(metavar="CODES", help="Not these rules.")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Policy file [default: the nearest specaudit.toml or pyproject.toml].",
            show_default=False,
        ),
    ] = None,
    unproven: Annotated[
        Literal["fail", "warn", "pass"] | None,
        typer.Option(
            help="What an inequality that could not be decided counts as [default: fail]."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Only what is new or worse than this fails."),
    ] = None,
    write_baseline: Annotated[
        bool, typer.Option("--write-baseline", help="Record today's findings in the baseline.")
    ] = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Report, but leave with 0.")
    ] = False,
    *,
    shared: Shared,
) -> int:
    """Apply the policy: the CI gate. Exit 0 only when everything is proved."""
    from specaudit.cli import gate

    asked = gate.CheckOptions(
        max_norm=max_norm,
        max_lipschitz=max_lipschitz,
        select=select,
        ignore=ignore,
        config=config,
        unproven=unproven,
        baseline=baseline,
        write_baseline=write_baseline,
        exit_zero=exit_zero,
    )
    return gate.check(models, shared, asked)


@app.command()
@with_shared_pages
def clamp(
    model: OneModel,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="[GLOB=]F",
            help="Limit on the norm of every layer, or of those that match; repeatable, the last "
            "match wins.",
            show_default=False,
        ),
    ] = None,
    max_lipschitz: Annotated[
        float | None,
        typer.Option(
            metavar="L",
            help="Limit on the network bound (on the product, without a graph), split over the "
            "layers so that the weights change least.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", help="The file to write."),
    ] = None,
    mode: Annotated[
        Literal["scale", "project"],
        typer.Option(help="A multiple of each weight; or the nearest one in the Frobenius norm."),
    ] = "scale",
    with_bias: Annotated[
        bool,
        typer.Option(
            "--with-bias",
            help="Scale the biases along: a positively homogeneous network (ReLU, max-pool, "
            "linear) becomes an exact multiple of itself, so that its decisions stay the same. "
            "Without it the weights alone change, and the function does.",
        ),
    ] = False,
    fold_batchnorm: Annotated[
        bool,
        typer.Option(
            "--fold-batchnorm",
            help="Hold a convolution together with the batch norm behind it to the limit, by "
            "the batch norm's scale: in training mode that undoes a smaller kernel.",
        ),
    ] = False,
    compare: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Run N random inputs through onnxruntime before and after; ONNX only.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing OUT.")] = False,
    *,
    shared: Shared,
) -> int:
    """Rewrite weights to a threshold, and certify what was written."""
    from specaudit.cli import clamping

    asked = clamping.ClampOptions(
        limits=tuple(limits or ()),
        max_lipschitz=max_lipschitz,
        out=out,
        mode=mode,
        with_bias=with_bias,
        fold_batchnorm=fold_batchnorm,
        compare=compare,
        dry_run=dry_run,
        force=force,
    )
    return clamping.clamp(model, shared, asked)


@app.command()
@with_shared_pages
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="The model or audit before.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The model or audit after.")],
    tolerance: Annotated[
        float, typer.Option(metavar="F", help="Relative change that does not count.")
    ] = 0.01,
    fail_on_regression: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression",
            help="Exit 1 if a norm or bound provably grew: lower(B) > upper(A)·(1+tolerance).",
        ),
    ] = False,
    *,
    shared: Shared,
) -> int:
    """Compare two models, or two saved audits, layer by layer."""
    from specaudit.cli import difference

    return difference.diff(before, after, shared, tolerance, fail_on_regression)


@app.command()
@with_shared_talk
def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A rule (SA201), an operation (Softmax), a key of the configuration (max-norm), "
            "rules, ops, config, schema, schema-clamp, schema-diff, exit-codes; with MODEL, one "
            "of its layers.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A model or a saved audit.", show_default=False),
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="PATH", help="Policy file.", show_default=False)
    ] = None,
    *,
    shared: Shared,
) -> int:
    """Explain a rule, an operation, a setting or a layer."""
    from specaudit.cli import explaining

    return explaining.explain(what, model, config, shared)
