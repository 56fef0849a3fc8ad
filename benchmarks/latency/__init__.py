"""How fast the exported graph answers, against the graphs that people write by hand."""
