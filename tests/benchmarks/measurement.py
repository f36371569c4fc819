"""One measurement in a process of its own, so that none is warmed by the one before it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def measure(script: str, *arguments: str) -> dict[str, float]:
    """What `script`, run with these arguments, prints as JSON in its last line. Ends the program where it fails."""
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, cwd=Path(script).parent
    )
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result
