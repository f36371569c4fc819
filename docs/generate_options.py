"""Writes `docs/options.md`: what a job and every plugin of this repository can be told.

    python docs/generate_options.py [FILE]

Everything comes from the pydantic models that check the options, and from the entry points in each `pyproject.toml`;
what else is installed does not matter.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
#: The distributions, each with its modules' folder; a plugin need not be installed.
FOLDERS = [
    path.parent
    for kind in ("plugins", "contrib", "tfplus_ext")
    for path in sorted(ROOT.glob(f"{kind}/**/pyproject.toml"))
]
SOURCES = {ROOT: ROOT} | {folder: folder / "src" for folder in FOLDERS}
sys.path[:0] = [str(folder) for folder in SOURCES.values()]

from penrose_host.cli.describe import as_json, option_rows  # noqa: E402
from penrose_host.config.job import Job  # noqa: E402
from penrose_host.plugins.index import Kind, Record  # noqa: E402
from penrose_host.plugins.loading import load  # noqa: E402

HEAD = """\
<!-- Written by docs/generate_options.py: change the options' models, and run it again. -->

# Options

Everything that a job can say, and the options of every plugin of this repository. `penrose plugins show NAME` prints
those of any plugin that is installed. How a job is written: [the job file](configuration.md).

A dot stands for a level: `micro_batch.rows` is `micro_batch: {rows: …}` in the file, `-o micro_batch.rows=…` as a flag.
"""

JOB = """\

## The job

A plugin is a name, or a mapping of `name` and its options. A feature may be a plain name, short for `{column: name}`,
and is called like its column unless `name` says otherwise: [features](features.md).

"""


def records() -> list[Record]:
    """The plugins of this repository, by kind and name."""
    found = []
    for folder in SOURCES:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        for kind in (kind for kind in Kind if kind is not Kind.COMMAND):  # a command has flags, and no options
            for name, target in project.get("entry-points", {}).get(kind.group, {}).items():
                found.append(Record(kind, name, project["name"], project["version"], target))
    return sorted(found, key=lambda record: (list(Kind).index(record.kind), record.name))


def table(model: type[BaseModel]) -> Iterator[str]:
    """Name, type, default and meaning of every option."""
    yield "| option | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, type_, default, meaning in option_rows(model):
        cells = [f"`{name}`", type_, default.removeprefix("default "), meaning]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def page() -> str:
    """The page as it should be."""
    lines = [HEAD, JOB, *(f"{line}\n" for line in table(Job))]
    kind = None
    for record in records():
        plugin = as_json(record)
        if record.kind is not kind:
            kind = record.kind
            lines.append(f"\n## {kind.capitalize()}s\n")
        capabilities = f" Capabilities: {', '.join(plugin['capabilities'])}." if plugin["capabilities"] else ""
        lines.append(f"\n### {record.name}\n\n{plugin['description']} Part of `{record.dist}`.{capabilities}\n")
        options = load(record).Options
        lines += ["\n", *(f"{line}\n" for line in table(options))] if options.model_fields else ["\nNo options.\n"]
    return "".join(lines)


if __name__ == "__main__":
    Path(*sys.argv[1:2] or [ROOT / "docs/options.md"]).write_text(page(), "utf-8")
