"""A report in a notebook: the page, in a frame of its own; and in a session: the text."""

from html import escape

from specaudit.outputs import html, terminal
from specaudit.outputs.terminal import View
from specaudit.policy import judge
from specaudit.report import Report


def view(report: Report) -> str:
    """Return the page as HTML that a notebook shows.

    Notes
    -----
    In a sandboxed frame: the page's style stays out of the notebook's, and a script could
    not reach it. The page allows only its own script in any case.
    """
    page = html.render([(report, judge(report).as_remarks())])
    return (
        '<iframe sandbox="allow-scripts" title="specaudit report" width="100%" height="640" '
        f'style="border:0" srcdoc="{escape(page, quote=True)}"></iframe>'
    )


def text(report: Report) -> str:
    """Return the text that ``specaudit inspect`` prints into a pipe."""
    pair = report, judge(report).as_remarks()
    return terminal.render([pair], View(command="inspect")).rstrip("\n")
