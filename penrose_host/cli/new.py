"""`penrose new`: writes a distribution with a small working plugin in it, to install, test and change."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from string import Template

from penrose_host.errors import PenroseError
from penrose_host.plugins.index import Kind, scan
from penrose_host.plugins.selection import known_package, known_packages

__all__ = ["KINDS", "add_arguments", "render"]

#: Kind → what the distribution is, and what its code imports beside the host.
KINDS = {
    "executor": ("An executor for Penrose", ("numpy>=1.26", "pydantic>=2.8")),
    "datasource": ("A datasource for Penrose", ("numpy>=1.26", "pyarrow>=18", "pydantic>=2.8")),
    "environment": ("An environment for Penrose", ("pydantic>=2.8",)),
    "hook": ("A hook for Penrose", ("pydantic>=2.8",)),
    "sink": ("A sink for Penrose", ("pyarrow>=18", "pydantic>=2.8")),
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `penrose new`."""
    parser.add_argument("kind", choices=KINDS, help="what kind of plugin")
    parser.add_argument("name", metavar="NAME", type=_name, help="its name: what a job and a flag say, as in my-model")
    parser.add_argument(
        "--directory",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where to put the folder penrose-NAME (default: .)",
    )
    parser.set_defaults(command=_new)


def render(kind: str, name: str) -> Iterator[tuple[str, str]]:
    """(path in the distribution, content) of each of its files."""
    description, needed = KINDS[kind]
    major, minor = version("penrose-host").split(".")[:2]
    dependencies = [*needed, f"penrose-host>={major}.{minor},<{major}.{int(minor) + 1}"]
    package = f"penrose_{name.replace('-', '_')}"
    suffix = "" if name.split("-")[-1] == kind else kind.capitalize()
    words = {
        "name": name,
        "kind": kind,
        "dist": f"penrose-{name}",
        "package": package,
        "class_name": "".join(map(str.capitalize, name.split("-"))) + suffix,
        "description": f"{description}: {name}.",
        "dependencies": ", ".join(map(json.dumps, sorted(dependencies))),
    }
    words["usage"] = _rendered(f"{kind}/usage.md", words).strip()
    for path, template in (
        ("pyproject.toml", "common/pyproject.toml"),
        ("README.md", "common/README.md"),
        (f"src/{package}/__init__.py", "common/__init__.py"),
        (f"src/{package}/{kind}.py", f"{kind}/plugin.py"),
        (f"tests/test_{kind}.py", f"{kind}/test_plugin.py"),
    ):
        yield path, _rendered(template, words)


def _rendered(template: str, words: dict[str, str]) -> str:
    text = files("penrose_host").joinpath(f"templates/{template}.tmpl").read_text("utf-8")
    return Template(text).substitute(words)


def _name(text: str) -> str:
    if _NAME.fullmatch(text) and len(text) <= _LONGEST and not text.startswith("penrose-"):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is no name for a plugin: up to {_LONGEST} small letters and digits, as in my-model "
        "(the distribution will be called penrose-NAME)"
    )


def _new(options: argparse.Namespace) -> int:
    dist = f"penrose-{options.name}"
    target = options.directory / dist
    if owner := _taken(options.kind, options.name):
        raise PenroseError(f"{owner}: nothing was written", hint="choose another name")
    if target.exists() or target.is_symlink():
        raise PenroseError(f"{target} exists: nothing was written", hint="choose another NAME, or a --directory")
    try:
        _write(target, dict(render(options.kind, options.name)))
    except OSError as error:
        raise PenroseError(f"{target} cannot be written: {error}", hint="choose another --directory") from error
    print(f'{target} is written. Next:\n  pip install -e {shlex.quote(str(target))} "penrose-host[testing]"')
    print(f"  pytest {shlex.quote(str(target))}\n  penrose plugins show {options.name} --kind {options.kind}")
    return 0


def _write(target: Path, contents: Mapping[str, str]) -> None:
    """All of it or nothing: a folder beside the target becomes the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".penrose-new-") as draft:
        for path, text in contents.items():
            place = Path(draft, target.name, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, "utf-8")
        Path(draft, target.name).rename(target)


def _taken(kind: str, name: str) -> str | None:
    """Who has this name already, or the name that the distribution would have."""
    dist = f"penrose-{name}"
    for record in scan().find(Kind(kind), name):
        return f"the {kind} {name!r} is provided by {record.dist} {record.version} already"
    if package := known_package(Kind(kind), name):
        return f"the {kind} {name!r} is provided by {package} already"
    with suppress(PackageNotFoundError):
        return f"the distribution {dist} {version(dist)} is installed already"
    if dist in {package for plugins in known_packages().values() for package in plugins.values()}:
        return f"there is another distribution {dist} already"
    return None
