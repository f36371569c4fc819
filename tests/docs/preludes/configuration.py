"""The job that the page describes, and its clicks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from doc_blocks import blocks

PLACEHOLDERS = {"NAME": "torch"}

Path("job.yaml").write_text(next(block.text for block in blocks(PAGE) if block.language == "yaml"))  # noqa: F821
clicks = {"ts": pa.array([0, 1, 2], pa.timestamp("s")), "user": [1, 2, 1], "item": [1, 1, 2], "clicked": [0, 1, 1]}
pyarrow.parquet.write_table(pa.table(clicks), "clicks.parquet")
