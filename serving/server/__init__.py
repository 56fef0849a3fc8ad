"""The local server, which replaces TF Serving in development and tests."""

from serving.server.server import LocalServer, main

__all__ = ["LocalServer", "main"]
