"""A compiled Keras model that trains in Keras's own loop, or in a function of the user's around it."""
