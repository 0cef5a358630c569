"""Outputs: a report and its verdict as text, a module per format."""

from collections.abc import Callable, Sequence

from specaudit.outputs import csv, github, html, json, junit, markdown, sarif, terminal
from specaudit.policy import Verdict
from specaudit.report import Report

RENDERERS: dict[str, Callable[[Sequence[tuple[Report, Verdict]]], str]] = {
    "text": terminal.render,
    "json": json.render,
    "csv": csv.render,
    "md": markdown.render,
    "html": html.render,
    "sarif": sarif.render,
    "junit": junit.render,
    "github": github.render,
}
