"""`python -m serving.server`: see `serving.server.server`."""

from serving.command import run
from serving.server.server import main

if __name__ == "__main__":
    run(main)
