"""All private names of Keras and TensorFlow, for both Keras modes, in one place."""
