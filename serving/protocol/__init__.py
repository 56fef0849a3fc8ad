"""The protocol of TF Serving: its messages, tensors and signatures."""

LARGEST_VERSION = 2**63 - 1  # versions are int64
