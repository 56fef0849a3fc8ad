"""A trained run as a version that TF Serving loads."""

from serving.export.export import ExportResult, export
from serving.export.parity import ParityError

__all__ = ["ExportResult", "ParityError", "export"]
