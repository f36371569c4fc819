"""The TensorFlow executor of Penrose. `executor` is its entry module and imports no framework."""
