"""The frame of every HTML page: policy, style, script, and the embedded document."""

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from specaudit import __version__
from specaudit.outputs import json, wording

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, document: object, **values: object) -> str:
    """Return a template's page with the style, the script, and a document embedded.

    Notes
    -----
    The content security policy allows this very style and script, by their digests, and
    nothing else: no network, no inline style, no other script, no frame, no form.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text: str = (
        _environment()
        .get_template(template)
        .render(
            style=style,
            script=script,
            policy=policy,
            version=__version__,
            document=embedded(document),
            **values,
        )
    )
    return text.rstrip("\n") + "\n"


def embedded(document: object) -> str:
    """Return JSON that ends no script element and opens none, whatever its strings hold."""
    text = json.escaped(msgspec.json.encode(document).decode())
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@lru_cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # 40 ms for this format alone

    environment = Environment(
        loader=PackageLoader("specaudit.outputs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(counted=wording.counted)
    return environment


def _asset(name: str) -> str:
    return (files("specaudit.outputs") / "templates" / name).read_text("utf-8").strip()


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
