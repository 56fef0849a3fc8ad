"""The stages of the preprocessing job, in their order."""
