"""The River executor of Penrose. `executor` is its entry module and does not import River."""
