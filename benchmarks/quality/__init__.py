"""How well each architecture ranks: all of them on one data set, with several seeds each.

    python -m benchmarks.quality census|kuairand --json FILE [--data DIR] [--seeds N] [--only NAME]

Each run trains as `mtl-tf train` does, in a process of its own. The validation rows choose
the epoch, and whatever else there is to choose; the test rows are only measured. FILE is
written after every run, and the same command continues from what it holds; a run whose
configuration has changed since, by a new default for example, is repeated.

`--before FILE` compares with an earlier FILE, `--plots FOLDER` draws quality by size.
"""
