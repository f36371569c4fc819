"""Where the project of an editable install is, and how a distribution is installed again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["editable_folder", "project_folder", "reinstall"]


def project_folder(direct_url: Mapping[str, Any]) -> Path | None:
    """The project's folder, by the content of a `direct_url.json`; None where it is of no editable install."""
    information, url = direct_url.get("dir_info"), direct_url.get("url")
    if not (isinstance(information, Mapping) and information.get("editable") and isinstance(url, str)):
        return None
    return Path(url2pathname(urlsplit(url).path))


def editable_folder(dist: str) -> Path | None:
    """The same by the name of an installed distribution; None too where its metadata cannot be read."""
    try:
        direct_url = json.loads(distribution(dist).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return None
    return project_folder(direct_url) if isinstance(direct_url, Mapping) else None


def reinstall(dist: str) -> str:
    """The command that installs it anew: from an index, or from the folder where somebody works on it."""
    folder = editable_folder(dist)
    return f"pip install --force-reinstall {dist}" if folder is None else f"pip install -e {shlex.quote(str(folder))}"
