"""Outputs: a report and its verdict as text, a module per format."""

from collections.abc import Callable, Sequence
from importlib import import_module

from specaudit.policy import Verdict
from specaudit.report import Report

Renderer = Callable[[Sequence[tuple[Report, Verdict]]], str]


def _rendered_by(module: str) -> Renderer:
    """Return the renderer of a module that is imported on first use: a gate starts at once."""

    def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
        text: str = import_module(f"specaudit.outputs.{module}").render(pairs)
        return text

    return render


RENDERERS: dict[str, Renderer] = {
    "text": _rendered_by("terminal"),
    "json": _rendered_by("json"),
    "csv": _rendered_by("csv"),
    "md": _rendered_by("markdown"),
    "html": _rendered_by("html"),
    "sarif": _rendered_by("sarif"),
    "junit": _rendered_by("junit"),
    "github": _rendered_by("github"),
}
