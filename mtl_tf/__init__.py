"""mtl_tf: multi-task ranking that learns what to share, and serves only that."""

__version__ = "0.1.0"
