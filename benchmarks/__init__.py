"""Measurements that anybody can run again: `python -m benchmarks.NAME --json FILE`."""
