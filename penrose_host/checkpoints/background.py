"""Writing checkpoints behind training: one thread, one checkpoint at a time, errors reported to the caller."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from penrose_host.checkpoints.manifest import Manifest

__all__ = ["Checkpointer"]


class Checkpointer:
    """Runs one `write` at a time on a thread of its own; `poll` and `wait` raise what it raised."""

    def __init__(self) -> None:
        self._work: queue.Queue[Callable[[], Manifest] | None] = queue.Queue(maxsize=1)
        self._done: queue.Queue[Manifest | BaseException] = queue.Queue()
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="penrose-checkpoints", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint was submitted whose end `poll` or `wait` has not yet told."""
        return self._busy

    def submit(self, write: Callable[[], Manifest]) -> None:
        """Start writing. The caller has made sure that nothing is in flight."""
        if self._busy:
            raise RuntimeError("a checkpoint is still being written")
        self._busy = True
        self._work.put(write)

    def poll(self) -> Manifest | None:
        """The manifest, once, when the checkpoint is durable; None before. Raises what went wrong."""
        if not self._busy or self._done.empty():
            return None
        return self.wait()

    def wait(self) -> Manifest | None:
        """Block until the checkpoint in flight is durable; None where there is none. Raises what went wrong."""
        if not self._busy:
            return None
        outcome = self._done.get()
        self._busy = False
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self, *, wait: bool = True) -> None:
        """Stop the thread. `wait`: let the one in flight end first, unseen. May be called twice."""
        if wait and self._thread.is_alive():
            self._work.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (write := self._work.get()) is not None:
            try:
                outcome: Manifest | BaseException = write()
            except BaseException as error:  # handed to the training thread, which raises it
                outcome = error
            self._done.put(outcome)
