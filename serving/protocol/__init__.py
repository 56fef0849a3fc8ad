"""The protocol of TF Serving: its messages, tensors and signatures."""
