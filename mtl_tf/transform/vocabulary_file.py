"""Vocabulary files: UTF-8 text, one value per line; the line number is the id.

A backslash and everything unprintable is escaped as in a Python or JSON
string (`\\n`, `\\\\`, `\\u2028`), so every value round-trips and a person can read it.
"""

from __future__ import annotations

import re
from pathlib import Path

# Backslash, control characters, line and paragraph separators, byte order mark.
_ESCAPED = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {short[1]: char for char, short in _SHORT.items()}


def escape(value: str) -> str:
    """Return `value` on one line.

    >>> print(escape("a\\nb"))
    a\\nb
    """
    return _ESCAPED.sub(lambda m: _SHORT.get(m[0]) or f"\\u{ord(m[0]):04x}", value)


def unescape(line: str) -> str:
    """Return the value that `escape` wrote as `line`."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _LONG.get(m[2], m[0]), line)


def write_vocabulary(path: Path, values: list[str]) -> None:
    """Write `values`, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{escape(value)}\n" for value in values)


def read_vocabulary(path: Path) -> list[str]:
    """Return the values that `write_vocabulary` wrote."""
    text = path.read_bytes().decode("utf-8")
    lines = text.split("\n")[:-1]
    return [unescape(line) for line in lines] if "\\" in text else lines
