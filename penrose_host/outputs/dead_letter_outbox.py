"""Bad rows on their way out of the run: what stands in `dead-letter.jsonl` goes to the datasource's own place too.

The file is cut back to the checkpoint after a crash, so a dead letter is sent only once the checkpoint that covers it
is durable. How many bytes of the file were sent stands beside it, in `dead-letter.sent`. Where a process dies after
sending and before that is written, they are sent again: at least once, in the file's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from penrose_host.contracts.plugin import Capability
from penrose_host.errors import CheckpointDamaged, RunDirectoryError
from penrose_host.outputs.dead_letters import read_dead_letter
from penrose_host.storage.durable_files import write_atomic
from penrose_host.storage.write_errors import write_errors

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Reject
    from penrose_host.contracts.datasource import DataSource

__all__ = ["DeadLetterOutbox"]

#: So many bytes of the file are sent at a time, and a line more.
AT_ONCE = 4 << 20


class DeadLetterOutbox:
    """Sends the lines of one file, in order; `send` returns once they are durable where they go."""

    def __init__(self, path: Path, send: Callable[[Sequence[Reject]], None]) -> None:
        """`path`: the run's `dead-letter.jsonl`."""
        self._path = path
        self._sent_path = path.with_name("dead-letter.sent")
        self._send = send

    @classmethod
    def open(cls, path: Path, source: DataSource, length: int) -> DeadLetterOutbox | None:
        """The outbox of a run that goes on with `length` bytes; None where the source has no place for dead letters.

        Raises RunDirectoryError.
        """
        outbox = cls(path, source.dead_letters)
        outbox.reset(length)
        return outbox if Capability.DEAD_LETTERS in source.capabilities else None

    def reset(self, length: int) -> None:
        """The file was cut to `length`: what was sent beyond comes again. Raises RunDirectoryError."""
        if self._sent() > length:
            self._remember(length)

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
                self._send([read_dead_letter(line) for line in lines.split(b"\n")[:-1]])
                sent += len(lines)
                self._remember(sent)

    def _sent(self) -> int:
        try:
            return max(int(self._sent_path.read_text()), 0)
        except (FileNotFoundError, ValueError):  # the machine died over it: all are sent again
            return 0

    def _remember(self, length: int) -> None:
        with write_errors(RunDirectoryError, self._sent_path):
            write_atomic(self._sent_path, b"%d\n" % length)


def _begins_a_line(file: BinaryIO, place: int) -> bool:
    if place == 0:
        return True
    file.seek(place - 1)
    return file.read(1) == b"\n"
