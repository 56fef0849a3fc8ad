"""The plan: a model's inference arithmetic as a small graph of named nodes."""
