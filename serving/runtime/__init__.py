"""Run an exported model as TF Serving does: its loader, warm-up and settings."""
