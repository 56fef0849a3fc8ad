"""Running a `main` from the shell: user errors as one line on stderr, no traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from mtl_tf.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Runs `main` and exits: 0, or the `exit_code` of a `UserError`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
