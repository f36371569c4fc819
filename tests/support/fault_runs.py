"""Real `penrose` processes that are killed, signalled, or left alone; and the table of where they were killed."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ANY", "KILLS", "NOTES", "Aim", "Ended", "Life", "Workplace"]

CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"
ENTRY_POINTS = """\
[penrose.datasources]
staged-files = fault_stage:StagedFiles
staged-kafka = fault_kafka:StagedKafka

[penrose.executors]
staged-torch = fault_stage:StagedTorch
staged-tensorflow = fault_stage:StagedTensorflow
counting = fault_stage:Counting

[penrose.hooks]
staged = fault_stage:StagedHook
"""
#: No life of a process under test is waited for longer than this, in seconds.
PATIENCE = 120.0
#: Aims at the n-th phase of any kind.
ANY = "*"
#: (suite, how it was aimed, phase) → processes killed.
KILLS: Counter[tuple[str, str, str]] = Counter()
#: What the one who runs the tests should know of this machine.
NOTES: list[str] = []


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a process is to be killed: when `phase` is reached for the `count`-th time."""

    phase: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: exit status, negative for a signal; what it printed; the last phase it told of."""

    code: int
    stderr: str
    stdout: str = ""
    phase: str | None = None

    def check(self, code: int = 0) -> Ended:
        """The same, if the exit status is this one and no traceback was shown."""
        assert self.code == code, f"exit status {self.code} instead of {code}:\n{self.stderr}"
        assert "Traceback" not in self.stderr, self.stderr
        return self


@dataclass
class Life:
    """One process, while it runs; `phases` are those it has told of."""

    process: subprocess.Popen[bytes]
    tell: int
    held: int
    folder: Path
    phases: list[str] = field(default_factory=list)
    _rest: bytes = b""

    def hear(self, timeout: float) -> bool:
        """Wait for phases; False where the process told of none within `timeout` seconds, or ended."""
        if not select.select([self.tell], [], [], timeout)[0]:
            return False
        data = os.read(self.tell, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.phases += [line.decode() for line in lines]
        return bool(data)

    def until(self, reached: Callable[[list[str]], bool]) -> bool:
        """Wait until the phases are so; False where the process ended before."""
        deadline = time.monotonic() + PATIENCE
        while not reached(self.phases):
            left = deadline - time.monotonic()
            assert left > 0, f"the process is stuck; it told of {self.phases[-5:]}"
            if not self.hear(left) and self.process.poll() is not None:
                return reached(self.phases)
        return True

    def release(self) -> None:
        """Let the process go on from where it was aimed at."""
        os.write(self.held, b"!")

    def end(self, number: signal.Signals | None = None) -> Ended:
        """Send a signal, if any, and wait for the end."""
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + PATIENCE
        while self.hear(max(deadline - time.monotonic(), 0)):
            pass  # a full pipe would hold the process back
        code = self.process.wait(timeout=max(deadline - time.monotonic(), 1))
        stderr, stdout = ((self.folder / name).read_text(errors="replace") for name in ("stderr", "stdout"))
        return Ended(code, stderr, stdout, self.phases[-1] if self.phases else None)


class Workplace:
    """A folder for runs, and an installation that has the plugins of `fault_stage`; `kills`: the option `--kills`."""

    def __init__(self, folder: Path, kills: int | None = None) -> None:
        self.folder = folder
        self.kills = kills
        self.site = folder / "site"
        info = self.site / "penrose_faults-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: penrose-faults\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        self._lives = itertools.count(1)

    def environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process that has the plugins, and no job of the one who runs the tests."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
        path = [str(self.site), str(Path(__file__).parent), *filter(None, [clean.get("PYTHONPATH")])]
        return {**clean, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", **variables}

    @contextmanager
    def start(
        self,
        *arguments: str | Path,
        aim: Aim | None = None,
        listen: str | None = None,
        prefix: Sequence[str] = (),
        **variables: str,
    ) -> Iterator[Life]:
        """Start `penrose ARGUMENTS`; it tells of the aim when it is there, or of each phase `listen` (ANY: of all).

        `prefix`: the command that starts it; `variables`: what is added to its environment.
        """
        place = self.folder / f"life-{next(self._lives)}"
        place.mkdir()
        tell, told = os.pipe()
        hold, held = os.pipe()
        if aim is not None or listen is not None:
            spec = {"phase": aim.phase if aim else listen, "count": aim.count if aim else 0, "tell": told, "hold": hold}
            variables["FAULT_AIM"] = json.dumps(spec)
        with (place / "stdout").open("wb") as stdout, (place / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-W", "error", "-c", CLI, *map(str, arguments)],
                env=self.environ(variables),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(told, hold),
            )
        os.close(told)
        os.close(hold)
        try:
            yield Life(process, tell, held, place)
        finally:
            process.kill()
            process.wait(timeout=PATIENCE)
            os.close(tell)
            os.close(held)

    def penrose(self, *arguments: str | Path, prefix: Sequence[str] = (), **variables: str) -> Ended:
        """Run `penrose ARGUMENTS` to its end."""
        with self.start(*arguments, prefix=prefix, **variables) as life:
            return life.end()

    def kill_at(self, suite: str, aim: Aim, *arguments: str | Path) -> str:
        """Run until the aim is reached, kill -9 there, and return the phase."""
        phase = self.kill_if_reached(suite, aim, *arguments)
        assert phase is not None, f"{aim} was never reached; the run had ended"
        return phase

    def kill_if_reached(self, suite: str, aim: Aim, *arguments: str | Path) -> str | None:
        """The same; None where the run came to its end before."""
        with self.start(*arguments, aim=aim) as life:
            reached = life.until(bool)
            ended = life.end(signal.SIGKILL)
        if not reached:
            ended.check()
            return None
        assert ended.code == -signal.SIGKILL
        phase = life.phases[0]
        KILLS[suite, "at a random phase" if aim.phase == ANY else "aimed", phase] += 1
        return phase

    def kill_after(self, suite: str, seconds: float, *arguments: str | Path) -> str | None:
        """Kill -9 so many seconds after the source was opened; returns the last phase, None where the run had ended."""
        with self.start(*arguments, listen=ANY) as life:
            life.until(lambda phases: "source: open" in phases)
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0 and (life.hear(left) or life.process.poll() is None):
                pass
            ended = life.end(signal.SIGKILL)
        if ended.code != -signal.SIGKILL:
            ended.check()
            return None
        KILLS[suite, "at a random moment", f"after {ended.phase}"] += 1
        return ended.phase
