"""The core: rows, their order, waiting for labels, training steps, metrics. Knows no file, no job, no plugin."""
