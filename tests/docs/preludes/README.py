"""A folder like the repository's, clicks to train on, and no run of more than a thousand rows."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from doc_blocks import ROOT, blocks

os.environ["PENROSE_UNTIL__ROWS"] = "1000"
PLACEHOLDERS = {"my-job": "clicks"}

Path("contrib").symlink_to(ROOT / "contrib")
Path("job.yaml").write_text(next(block.text for block in blocks(ROOT / "README.md") if block.language == "yaml"))
Path("clicks").mkdir()
rows = range(2000)
clicks = {
    "ts": pa.array([row * 1_000_000 for row in rows], pa.timestamp("us", "UTC")),
    "user": [f"u{row % 50}" for row in rows],
    "item": [f"i{row % 7}" for row in rows],
    "clicked": [row % 3 == 0 for row in rows],
}
pyarrow.parquet.write_table(pa.table(clicks), "clicks/1.parquet")
