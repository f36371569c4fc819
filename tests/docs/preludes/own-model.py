"""What the page tells to copy from another page."""

from pathlib import Path

from doc_blocks import ROOT, blocks

(ids,) = [block for block in blocks(ROOT / "docs/features.md") if block.language == "python"]
Path("ids.py").write_text(ids.text)
