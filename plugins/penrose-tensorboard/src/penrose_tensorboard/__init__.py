"""The TensorBoard hook of Penrose. `hook` is its entry module and imports no framework."""
