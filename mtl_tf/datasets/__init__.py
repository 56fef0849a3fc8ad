"""Data sets for demos and benchmarks: a generated click log, and Census-Income."""
