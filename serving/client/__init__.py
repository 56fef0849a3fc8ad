"""A gRPC client that sends rows and returns scores; it needs no TensorFlow, Keras or Beam."""

from serving.client.client import Client, ServingError

__all__ = ["Client", "ServingError"]
