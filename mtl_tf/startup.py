"""Start commands so that the working folder cannot replace a dependency.

Python searches the working folder first under `python -m` and `python -c`, and where
PYTHONPATH has an empty entry. A file there that is named like a dependency, such as
`rich.py`, would be imported instead of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def drop_working_folder() -> None:
    """Remove the working folder from the import path, unless this package lies in it."""
    sys.path[:] = _safe_path()


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as `python -m` does, on this import path.

    >>> module_command("json.tool", "--help")[-1]
    '--help'
    """
    code = (
        f"import sys; sys.path[:] = {_safe_path()!r}; import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]


def _safe_path() -> list[str]:
    home, here = str(Path(__file__).resolve().parent.parent), os.getcwd()
    entries = [entry or here for entry in sys.path]
    return [entry for entry in entries if entry != here or here == home]
