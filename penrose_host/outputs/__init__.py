"""A run's own files: they are cut back to the checkpoint, so that each row's effect is in them exactly once."""
