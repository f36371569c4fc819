"""Bad rows on their way out of the run: what stands in `dead-letter.jsonl` goes to the datasource's own place too.

The file is cut back to the checkpoint after a crash, so a letter leaves only behind the checkpoint that covers it.
How far they have left is kept beside the file. Between a letter's leaving and that note a crash sends it again:
at least once, in the file's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from penrose_host.errors import CheckpointDamaged
from penrose_host.outputs.dead_letters import read_letter
from penrose_host.storage.run_directory import keep

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Reject

__all__ = ["Outbox"]

#: So many bytes of the file are sent at a time, and a line more.
AT_ONCE = 4 << 20


class Outbox:
    """Sends the lines of one file, in order; `send` returns once they are durable where they go."""

    def __init__(self, path: Path, send: Callable[[Sequence[Reject]], None]) -> None:
        """`path`: the run's `dead-letter.jsonl`."""
        self._path = path
        self._noted = path.with_name("dead-letter.sent")
        self._send = send

    def reset(self, length: int) -> None:
        """The file was cut to `length`: what an older life sent beyond comes again. Raises RunDirectoryError."""
        if self._sent() > length:
            self._note(length)

    def send(self, length: int) -> None:
        """Send what stands before `length` and was not sent. Raises what sending raises, RunDirectoryError."""
        sent = self._sent()
        if sent >= length:
            return
        with self._path.open("rb") as file:
            if not _begins_a_line(file, sent):
                sent = 0
            file.seek(sent)
            while sent < length:
                # Not `readlines(hint)`: it goes a line beyond the hint, where nothing is durable yet.
                lines = file.read(min(AT_ONCE, length - sent))
                lines += b"" if lines.endswith(b"\n") else file.readline()
                if not lines:
                    raise CheckpointDamaged(
                        f"{self._path} has {sent} bytes, the checkpoint knows of {length}",
                        path=self._path,
                        hint="put the file back, or use another --run-dir",
                    )
                self._send([read_letter(line) for line in lines.split(b"\n")[:-1]])
                sent += len(lines)
                self._note(sent)

    def _sent(self) -> int:
        try:
            return max(int(self._noted.read_text()), 0)
        except (FileNotFoundError, ValueError):  # the machine died over it: all are sent again
            return 0

    def _note(self, length: int) -> None:
        keep(self._noted, f"{length}\n")


def _begins_a_line(file: BinaryIO, place: int) -> bool:
    if place == 0:
        return True
    file.seek(place - 1)
    return file.read(1) == b"\n"
