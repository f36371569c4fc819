"""The module that an entry point names is cheap to import."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import Any

FRAMEWORKS = ("tensorflow", "keras", "torch", "safetensors", "pyarrow", "pandas", "rich", "fsspec")


def assert_imports_no_framework(plugin: type) -> None:
    """Neither its module nor making one, with all options left out, imports any of them."""
    script = (
        f"import sys\nfrom {plugin.__module__} import {plugin.__name__} as plugin\nplugin(plugin.Options())\n"
        f"print([name for name in {FRAMEWORKS} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


class EntryModule:
    def test_importing_it_imports_no_framework(self, lab: Any) -> None:
        assert_imports_no_framework(lab.kind)

    def test_the_entry_point_leads_to_the_executor(self, lab: Any) -> None:
        points = importlib.metadata.entry_points(group="penrose.executors")
        (found,) = {entry.value for entry in points if entry.name == lab.name}
        assert importlib.metadata.EntryPoint(lab.name, found, "penrose.executors").load() is lab.kind
