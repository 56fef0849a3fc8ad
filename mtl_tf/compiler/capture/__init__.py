"""A trained Keras model as a plan."""
