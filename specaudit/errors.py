"""What can go wrong, as one tree; each leaf knows its exit code.

::

    SpecauditError                  4   a bug if nothing more precise was raised
    ├── UsageError                  2   the call is wrong: option, pattern, path, OUT exists
    │   └── ConfigurationError      2   the policy file is wrong
    ├── ModelError                  3   the model file could not be audited
    │   ├── UnreadableModel         3   damaged, truncated, hostile
    │   └── UnsupportedModel        3   a format or feature that is not read
    ├── OutputError                 3   a result could not be written
    └── NotCertified                1   the limit could not be certified; nothing is written
"""

from typing import ClassVar


class SpecauditError(Exception):
    """An error a person can act on.

    Parameters
    ----------
    message : str
        What is wrong, in one line.
    where : str
        The file, and the tensor or node in it.
    help : str
        The command or the edit that mends it; if none is given, what helps with most errors
        of the kind.
    """

    exit_code: ClassVar[int] = 4
    remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, where: str = "", help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.help = help or self.remedy

    def __str__(self) -> str:
        where = f"\n  --> {self.where}" if self.where else ""
        return f"{self.message}{where}" + (f"\n  help: {self.help}" if self.help else "")


class UsageError(SpecauditError):
    """The call cannot be carried out as it stands."""

    exit_code = 2


class ConfigurationError(UsageError):
    """The policy file says something it cannot mean."""

    remedy = "`specaudit explain config` lists every key"


class ModelError(SpecauditError):
    """The model file could not be audited."""

    exit_code = 3


class UnreadableModel(ModelError):
    """The file is damaged, truncated, contradictory or hostile."""

    remedy = "write or download the file again; if it stays, do not use the file"


class UnsupportedModel(ModelError):
    """The file is of a format, or uses a feature, that is not read."""

    remedy = "save the weights as safetensors or a plain state dict, or export to ONNX"


class OutputError(SpecauditError):
    """A result could not be written."""

    exit_code = 3
    remedy = "choose another path, or make room and give the right to write there"


class NotCertified(SpecauditError):
    """The limit could not be certified in the stored data type."""

    exit_code = 1
