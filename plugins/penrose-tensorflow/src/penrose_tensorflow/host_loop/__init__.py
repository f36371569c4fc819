"""A Keras model, named or of the user's, that the host's loop trains: one compiled step, built by this package."""
