"""A run with two checkpoints."""

import subprocess

PLACEHOLDERS = {"NAME": "clicks", "ID": "00000001-e1"}

subprocess.run(["penrose", "run", "job.yaml", "-o", "checkpoint.rows=200"], check=True, timeout=120)
