"""A process of the local runner: Beam's own worker, without its log lines on stderr.

Started by the runner, as `python -m pipelines.worker` would. Errors still reach the launcher,
through the runner.
"""

import logging
import signal
import sys


def main() -> None:
    """Work until the runner has nothing left to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher ends this process
    # With a handler, a stray `logging.warning` no longer installs one on stderr.
    logging.root.addHandler(logging.NullHandler())
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
