"""The gRPC client: rows in, scores out. Imports neither TensorFlow, Keras nor Beam."""

from serving.client.client import Client, ServingError

__all__ = ["Client", "ServingError"]
