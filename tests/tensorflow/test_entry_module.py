from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from penrose_tensorflow.executor import TensorflowExecutor


@pytest.mark.parametrize("module", ["penrose_tensorflow.executor"])
def test_importing_an_entry_module_imports_no_framework(module: str) -> None:
    script = (
        f"import sys, {module} as entry\n"
        "plugin = entry.TensorflowExecutor\n"
        "plugin(plugin.Options())\n"
        "frameworks = 'tensorflow', 'keras', 'torch', 'safetensors', 'pyarrow', 'pandas', 'rich', 'fsspec'\n"
        "print([name for name in frameworks if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_leads_to_the_executor() -> None:
    (found,) = {
        entry.value
        for entry in importlib.metadata.entry_points(group="penrose.executors")
        if entry.name == "tensorflow"
    }
    assert importlib.metadata.EntryPoint("tensorflow", found, "penrose.executors").load() is TensorflowExecutor
