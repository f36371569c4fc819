"""What is installed is what git tracks: no folder of the host is missing in its wheel, and nothing else is in it."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from doc_blocks import ROOT
from uv_pip import build_wheels


def test_the_wheel_of_the_host_holds_what_git_tracks(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "penrose_host"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    build_wheels(tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == set(listed.stdout.rstrip("\0").split("\0")), "a file to `git add`, or one that .gitignore hides"
