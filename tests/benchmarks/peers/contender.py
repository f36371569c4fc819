"""The parent's side: one contender in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def machine_cpu_seconds() -> float:
    """CPU time that all processes of the machine have used, and that its host has taken away (Linux)."""
    user, nice, system, _idle, _wait, irq, soft_irq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")


class Contender:
    """A worker program and its pipes. A worker that dies is an error with its last lines."""

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            [python, HERE / f"{name}_table.py", str(writer)],
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=[writer],
            text=True,
            bufsize=1,
            env=environment,
        )
        os.close(writer)
        self._replies = os.fdopen(reader)

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one reply."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            line = self._replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"{self.name} died at {request['do']}:\n{self._errors.read()[-4000:]}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def measure(self, stream: str, first: int, steps: int) -> tuple[float, float]:
        """(seconds, cores that everybody else used meanwhile)."""
        busy, began = machine_cpu_seconds(), time.perf_counter()
        reply = self.ask(do="run", stream=stream, first=first, steps=steps)
        elapsed = time.perf_counter() - began
        others = max(0.0, machine_cpu_seconds() - busy - reply["cpu_seconds"]) / elapsed
        return reply["seconds"], others

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._replies.close()
        self._errors.close()
