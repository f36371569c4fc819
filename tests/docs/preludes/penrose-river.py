"""The export of a run with the page's own model."""

import subprocess
from pathlib import Path

from doc_blocks import blocks

Path("my_models.py").write_text(next(block.text for block in blocks(PAGE) if block.file == "my_models.py"))  # noqa: F821
job = ["job.yaml", "--executor", "river", "-o", "executor.model=my_models:pipeline"]
job += ["-o", "features.categorical=[user]", "-o", "features.labels=[{name: late, column: click}]"]
job += ["--run-dir", "runs/flights-delay"]
environ = ["env", "PYTHONPATH=."]
subprocess.run([*environ, "penrose", "run", *job], check=True, timeout=120)
subprocess.run([*environ, "penrose", "export", *job, "--output", "runs/flights-delay/export"], check=True, timeout=120)
