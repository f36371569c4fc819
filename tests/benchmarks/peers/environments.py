"""The peers' own Python environments, made once with venv and pip."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

#: Environments are kept here; git ignores the folder.
CACHE = Path(__file__).parents[3] / ".benchmarks"
#: Every package that decides the speed is pinned. TensorFlow 2.16 was built for NumPy 1.
PINS = {
    "fbgemm": ("torch==2.13.0", "fbgemm-gpu-cpu==1.8.0", "numpy==2.4.6"),
    "tfra": ("tensorflow-cpu==2.16.2", "tensorflow-recommenders-addons==0.8.1", "numpy==1.26.4"),
}


def python(name: str) -> Path:
    """The interpreter of one environment; it is made first where it is missing or its pins have changed."""
    folder = CACHE / name
    interpreter = folder / "bin" / "python"
    made_with = folder / "pins.txt"
    pins = "\n".join(PINS[name])
    if not made_with.exists() or made_with.read_text() != pins:
        if sys.version_info[:2] > (3, 12) and name == "tfra":
            sys.exit(
                "TensorFlow 2.16 has no wheels for this Python: make its environment with 3.11, --python-tfra PATH"
            )
        print(f"making {folder}: {', '.join(PINS[name])}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([interpreter, "-m", "pip", "install", "-q", *PINS[name]], check=True)
        made_with.write_text(pins)
    return interpreter
