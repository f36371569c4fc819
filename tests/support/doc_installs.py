"""What the documentation installs: folders that a page wrote are installed, all else is only checked to exist."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

from doc_blocks import DISTRIBUTIONS, ROOT, Fault
from uv_pip import OFFLINE, uv_pip

__all__ = ["check_nox", "check_pip"]


def check_pip(words: list[str]) -> None:
    """The arguments of `pip install`. Raises Fault where one names what this repository does not know."""
    options = {"-c", "-r", "--index-url", "--extra-index-url"}
    for before, word in zip(["", *words], words, strict=False):
        if before in options or word.startswith("-"):
            continue
        if Path(word, "pyproject.toml").exists():
            subprocess.run(uv_pip("install", *OFFLINE, "-e", word), timeout=100, check=True)
        elif not (ROOT / word / "pyproject.toml").exists() and not _is_known(word):
            raise Fault(f"pip install {word}: no such distribution in this repository, and none that it depends on")


def _is_known(requirement: str) -> bool:
    """Whether this names a distribution (and an extra) of this repository, or one that it depends on."""
    name, extra = re.fullmatch(r"([\w.-]*)(?:\[([\w-]*)\])?.*", requirement).groups()
    projects = {}
    for path in DISTRIBUTIONS:
        project = tomllib.loads(path.read_text("utf-8"))["project"]
        projects[project["name"]] = project
    if extra is not None and name in projects:
        return extra in projects[name].get("optional-dependencies", ())
    needed = [line for project in projects.values() for line in project.get("dependencies", ())]
    needed += (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return name in {*projects, "nox", "pytest", *(re.match(r"[\w.-]*", line)[0] for line in needed)}


def check_nox(words: list[str]) -> None:
    """The arguments of `nox`. Raises Fault for a session that there is not."""
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = {
        function.name
        for function in functions
        if any(ast.unparse(decorator).startswith("nox.session") for decorator in function.decorator_list)
    }
    if unknown := {word for word in words if not word.startswith("-")} - sessions:
        raise Fault(f"nox has no session {', '.join(sorted(unknown))}: it has {', '.join(sorted(sessions))}")
