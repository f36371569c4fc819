"""Imports plugins, each in a process of its own: one that hangs, ends the process or is slow harms nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penrose_host.plugins.index import Record

__all__ = ["TIME_LIMIT", "Probe", "probe"]

#: Seconds that importing one plugin may take.
TIME_LIMIT = 30.0
_PAUSE = 0.005
_BOOT = (
    "import json, sys; request = json.loads(sys.argv[1]); sys.path[:] = request['path']; "
    "from penrose_host.plugins.doctor.probed import main; main(request)"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of importing one plugin: `code` is ok, broken, incompatible, ended or time-limit."""

    code: str
    message: str | None = None
    hint: str | None = None
    #: Of the import alone, beyond what the host itself imports; None where it never ended.
    seconds: float | None = None
    #: Top-level packages that were imported with it.
    imports: tuple[str, ...] = ()
    api_version: int | None = None
    traceback: str | None = None


def probe(records: Iterable[Record], time_limit: float = TIME_LIMIT) -> dict[Record, Probe]:
    """Import each plugin as a run would, with this process's interpreter and path."""
    waiting = deque(records)
    running: dict[Record, _Process] = {}
    done: dict[Record, Probe] = {}
    at_once = min(os.cpu_count() or 1, 4)
    with tempfile.TemporaryDirectory(prefix="penrose-doctor-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    record = waiting.popleft()
                    running[record] = _Process(record, Path(folder) / f"{len(done) + len(running)}.json", time_limit)
                for record, process in list(running.items()):
                    if (result := process.result()) is not None:
                        done[record] = result
                        del running[record]
                time.sleep(_PAUSE)
        finally:
            for process in running.values():
                process.kill()
    return done


class _Process:
    """One import under way."""

    def __init__(self, record: Record, answer: Path, time_limit: float) -> None:
        self._record = record
        self._answer = answer
        self._time_limit = time_limit
        self._until = time.monotonic() + time_limit
        path = [entry for entry in sys.path if isinstance(entry, str)]  # as importing does, pass over what is none
        request = {"record": asdict(record), "answer": str(answer), "path": path}
        options = [*(f"-W{option}" for option in sys.warnoptions), *(["-S"] if sys.flags.no_site else [])]
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", _BOOT, json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def result(self) -> Probe | None:
        """What came of it; None while it goes on."""
        status = self._process.poll()
        if status is None:
            if time.monotonic() < self._until:
                return None
            self.kill()
            return Probe(
                "time-limit",
                f"importing {self._record.target} took longer than {self._time_limit:g} s and was ended",
                f"give it more time with --time-limit, or see where it stands: {_import(self._record)}   (and Ctrl-C)",
            )
        try:
            answer: Mapping[str, Any] = json.loads(self._answer.read_text("utf-8"))
        except (OSError, ValueError):
            return Probe(
                "ended",
                f"importing {self._record.target} ended the process ({_status(status)})",
                f"to see it happen: {_import(self._record)}",
            )
        return Probe(**{**answer, "imports": tuple(answer.get("imports", ()))})

    def kill(self) -> None:
        """End it, and what it has started."""
        if self._process.poll() is None:
            # Not reaped yet, so that the number of its group is still its own.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _import(record: Record) -> str:
    return f"python -X faulthandler -c 'import {record.target.partition(':')[0]}'"


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
