"""Start-up: `penrose --help` and `penrose plugins` against importing the libraries that any plugin framework imports.

    python tests/benchmarks/bench_start.py [--repeat 15]

The peer is `python -c "import pluggy, stevedore, pydantic"`. Each measurement is a process of its own, all kinds by
turns; once with what is installed here, once with thirty more plugins of which three are broken.
Asked for: at most 1.5 times the peer's time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

FRAMEWORKS = ("torch", "tensorflow", "ray", "apache_beam")
PEER = "import pluggy, stevedore, pydantic"
CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"


def add_plugins(folder: Path, count: int = 30) -> None:
    """Distributions of one executor each; the modules of all of them would import a framework."""
    for number in range(count):
        name = f"plugin{number}"
        info = folder / f"penrose_{name}-1.0.dist-info"
        info.mkdir()
        if number != 0:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: penrose-{name}\nVersion: 1.0\n")
        target = "no target" if number == 1 else f"{name}:Executor"
        (info / "entry_points.txt").write_text(f"[penrose.executors]\n{name} = {target}\n")
        (folder / f"{name}.py").write_text("raise SystemExit(9)\n" if number == 2 else "import torch\n")


def seconds(command: list[str], path: Path | None) -> float:
    """How long one process takes. Raises CalledProcessError where it fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
    if path is not None:
        environ["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, [environ.get("PYTHONPATH")])])
    began = time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure by turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    print(f"installed here: {', '.join(name for name in FRAMEWORKS if find_spec(name)) or 'no framework'}")
    with tempfile.TemporaryDirectory() as folder:
        add_plugins(Path(folder))
        kinds: dict[str, tuple[list[str], Path | None]] = {"peer": ([sys.executable, "-c", PEER], None)}
        for path, more in ((None, ""), (Path(folder), " with 30 more plugins")):
            for arguments in ("--help", "plugins"):
                kinds[f"penrose {arguments}{more}"] = ([sys.executable, "-c", CLI, arguments], path)
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(repeat + 1):
            for kind, (command, path) in kinds.items():
                value = seconds(command, path)
                # The first turn fills the disk's and Python's caches.
                if turn:
                    taken[kind].append(value)
    peer = statistics.median(taken["peer"])
    for kind, values in taken.items():
        median = statistics.median(values)
        print(
            f"{kind:<36} {median * 1000:6.0f} ms (median of {len(values)}, {min(values) * 1000:.0f} to "
            f"{max(values) * 1000:.0f}) · ratio {median / peer:.2f}"
        )


if __name__ == "__main__":
    main()
