"""`python -m serving.server`: see `serving.server.server`."""

import logging
import sys

from mtl_tf.errors import exit_on_user_error
from serving.server.server import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with exit_on_user_error():
        main()
