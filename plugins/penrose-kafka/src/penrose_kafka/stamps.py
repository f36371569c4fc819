"""What a checkpoint keeps of a partition beside its position."""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["Stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """The cluster that a partition is of, and the offset at which the run began with it.

    A position names only partitions that gave a row: where reading begins at `latest`, the others must go on where
    the run began, not where it is started again. `columns`: the decoder's state, in one of a stream's stamps.
    """

    cluster: str
    start: int
    columns: str = ""

    def to_text(self) -> str:
        """Short text, which `from_text` reads."""
        parts = {"cluster": self.cluster, "start": self.start} | ({"columns": self.columns} if self.columns else {})
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Stamp:
        """Raises KeyError, TypeError or ValueError where it is none."""
        parts = json.loads(text)
        return cls(str(parts["cluster"]), int(parts["start"]), str(parts.get("columns", "")))
