"""The job without its list: this executor knows none."""

from pathlib import Path

Path("job.yaml").write_text(Path("job.yaml").read_text().replace("  lists: [history]\n", ""))
