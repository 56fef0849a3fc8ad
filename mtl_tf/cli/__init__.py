"""`mtl-tf`: every step from raw rows to served scores, as a command."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> None:
    """Run the command line; a user's mistake ends in one sentence and an exit code."""
    from mtl_tf.startup import drop_working_folder

    drop_working_folder()  # before the first import of a dependency
    from mtl_tf.cli import app

    app.run(argv)
