"""Audits neural networks for spectral norms and Lipschitz bounds.

>>> import specaudit
>>> report = specaudit.audit("sample_models/mlp.onnx")
>>> report.product.status
'certified'

Importing this loads neither NumPy, torch nor ONNX; each name is resolved on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specaudit.bracket import Bracket as Bracket
    from specaudit.errors import ModelError as ModelError
    from specaudit.errors import NotCertified as NotCertified
    from specaudit.errors import SpecauditError as SpecauditError
    from specaudit.errors import UsageError as UsageError
    from specaudit.formats import load as load
    from specaudit.pipeline import audit as audit
    from specaudit.report import Clamping as Clamping
    from specaudit.report import Measurement as Measurement
    from specaudit.report import Norm as Norm
    from specaudit.report import Report as Report
    from specaudit.report import Settings as Settings
    from specaudit.report import Skipped as Skipped
    from specaudit.rewrite import clamp as clamp

__version__ = "0.1.0"

_HOMES = {
    "Bracket": "bracket",
    "Clamping": "report",
    "Measurement": "report",
    "ModelError": "errors",
    "Norm": "report",
    "NotCertified": "errors",
    "Report": "report",
    "Settings": "report",
    "Skipped": "report",
    "SpecauditError": "errors",
    "UsageError": "errors",
    "audit": "pipeline",
    "clamp": "rewrite",
    "load": "formats",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'specaudit' has no attribute {name!r}")
    value: object = getattr(import_module(f"specaudit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
