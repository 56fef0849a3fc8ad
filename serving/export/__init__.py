"""Export a trained run as a version that TF Serving loads."""

from serving.export.export import export
from serving.export.parity import ParityError
from serving.export.stages import Published

__all__ = ["ParityError", "Published", "export"]
