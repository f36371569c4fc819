"""What a checkpoint keeps of partitions beside their positions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from penrose_host import WrongStream

__all__ = ["Stamp", "Stamps"]


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


class Stamps:
    """Stamps by partition: `expected`, those of the checkpoint that a run goes on from; `texts`, those that it gives.

    `columns`: the decoder's state in the former.
    """

    def __init__(self) -> None:
        self.expected: dict[str, Stamp] = {}
        self.columns = ""
        self.texts: Mapping[str, str] = {}
        self._starts: dict[str, Stamp] = {}

    @property
    def starts(self) -> dict[str, int]:
        """Partition → the offset at which the run began with it."""
        return {name: stamp.start for name, stamp in self._starts.items()}

    def expect(self, texts: Mapping[str, str]) -> None:
        """Take those of a checkpoint. Raises WrongStream for what is none of this datasource's."""
        for name, text in texts.items():
            try:
                stamp = self.expected[name] = Stamp.from_text(text)
            except (ValueError, TypeError, KeyError) as error:
                raise WrongStream(f"the stamp of {name!r} is not one of the datasource kafka: {text!r}") from error
            self.columns = stamp.columns or self.columns

    def begin(self, name: str, cluster: str, offset: int) -> None:
        """The partition is read from this offset on; where it is expected, the run began with it before."""
        known = self.expected.get(name)
        self._starts[name] = Stamp(cluster, offset if known is None else known.start)

    def write(self, columns: str) -> None:
        """Make the texts; one of them is enough to carry the columns."""
        texts = {name: stamp.to_text() for name, stamp in self._starts.items()}
        if columns and texts:
            carrier = min(texts)
            stamp = self._starts[carrier]
            texts[carrier] = Stamp(stamp.cluster, stamp.start, columns).to_text()
        self.texts = texts
