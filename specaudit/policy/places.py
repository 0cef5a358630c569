"""Where each key of a TOML text stands; `tomllib`, which parsed it, does not say."""

import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'", re.DOTALL
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")


def lines_of(text: str) -> dict[str, int]:
    r"""Return the line of every key, table and array element, from 1.

    Parameters
    ----------
    text : str
        Valid TOML: it is read here only as far as telling where its keys are.

    Returns
    -------
    dict
        By path, joined with dots: ``gates.max-lipschitz``, ``layers.0.match``.

    Examples
    --------
    >>> lines_of("a = 1\n[[b]]\nc.d = {e = 2}\n")
    {'a': 1, 'b': 2, 'b.0': 2, 'b.0.c': 3, 'b.0.c.d': 3, 'b.0.c.d.e': 3}
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return {".".join(map(str, path)): line for path, line in scanner.lines.items()}


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.tables: dict[Path, int] = {}  # how many [[…]] each array of tables has had

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        double = self.text.startswith("[[", self.at)
        line = self._line()
        self.at += 2 if double else 1
        keys = self._keys()
        self.at += 2 if double else 1
        path: Path = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if index < len(keys) - 1 and path in self.tables:
                path = (*path, self.tables[path] - 1)
        if double:
            count = self.tables.get(path, 0)
            self.tables[path] = count + 1
            path = (*path, count)
            self.lines[path] = line
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign, which _keys stops at
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            quoted = self.text[self.at] in "\"'"
            word = self._skip(_STRING if quoted else _BARE_KEY)
            keys.append(tomllib.loads(f"key = {word}")["key"] if quoted else word)
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: Path) -> None:
        first = self.text[self.at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self.at += 1
            self._skip(_BLANK)
            while self.text[self.at] != "}":
                self._pair(path)
                self._skip(_BLANK)
            self.at += 1
        else:
            self._skip(_STRING if first in "\"'" else _SCALAR)

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        self._skip(_BLANK)
        while self.text[self.at] != "]":
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
        self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = found.end()
        return found[0]

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1
