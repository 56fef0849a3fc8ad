"""Validation: which cells and rows are accepted, converted or rejected, and why."""
