"""The scikit-learn executor of Penrose. `executor` is its entry module and does not import scikit-learn."""
