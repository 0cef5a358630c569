"""The golden outputs: ``python -m tests.outputs.golden`` writes them anew, to be looked at."""

from pathlib import Path

from specaudit.outputs import RENDERERS, terminal
from specaudit.outputs.terminal import View
from tests.outputs.reports import pairs

FOLDER = Path(__file__).parent / "golden"
SUFFIXES = {
    "text": "txt",
    "json": "json",
    "csv": "csv",
    "md": "md",
    "html": "html",
    "sarif": "sarif",
    "junit": "xml",
    "github": "github",
}
VIEWS = {
    "80": View(width=80),
    "120": View(width=120),
    "color": View(width=100, color=True),
    "inspect": View(width=80, command="inspect", sort="norm", top=3),
    "verbose": View(width=100, verbose=True),
}


def outputs():
    """Yield the name of each golden file and its text."""
    for report, pair in pairs().items():
        for name, render in RENDERERS.items():
            yield f"{report}.{SUFFIXES[name]}", render([pair])
        for view, chosen in VIEWS.items():
            yield f"{report}.{view}.txt", terminal.render([pair], chosen)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in outputs():
        (FOLDER / file).write_text(text, "utf-8")
