"""Keras 2 or 3, and every private name of Keras and TensorFlow that the library uses.

An upgrade of either can break these few modules and no others. Each public function here
is the same in both Keras modes.
"""
