"""Cells and rows: what is accepted, converted or rejected, and why."""
