"""The pages of the documentation, and the fenced blocks in them; `doc_pages` says what their authors can write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT, *sorted(ROOT.glob("plugins/*")), *sorted(ROOT.glob("contrib/*")), *sorted(ROOT.glob("tfplus_ext/**/"))]
DISTRIBUTIONS = [folder / "pyproject.toml" for folder in FOLDERS if (folder / "pyproject.toml").exists()]
#: The languages of commands.
COMMANDS = {"", "console", "sh", "bash"}

_FILE = re.compile(r"[\w./-]+\.(?:py|yaml|yml|toml|json|jsonl|csv|md|txt)")


class Fault(Exception):
    """A block does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line, `mark` the text of the comment above it."""

    line: int
    language: str
    text: str
    file: str | None
    mark: str | None

    @property
    def is_picture(self) -> bool:
        return self.language == "text" or (not self.language and bool(re.search("[─│┃▶└├]", self.text)))

    @property
    def is_commands(self) -> bool:
        return self.language in COMMANDS and not self.is_picture


def pages() -> list[Path]:
    """Every page that has to run."""
    readmes = [path.with_name("README.md") for path in DISTRIBUTIONS if path.with_name("README.md").exists()]
    return [*sorted((ROOT / "docs").glob("*.md")), *readmes]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page. Raises Fault where one is not closed."""
    before, opened, fence = [""], None, ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if opened is None:
            if start := re.match(r"\s*(```+)\s*(\w*)", line):
                opened, fence, language, lines = number + 1, start[1], start[2], list[str]()
            elif line.strip():
                before.append(line.strip())
        elif line.strip() == fence:
            text = "\n".join(lines) + "\n"
            first = re.fullmatch(rf"# ({_FILE.pattern})(?: .*)?", lines[0] if lines else "")
            above = re.search(rf"`?({_FILE.pattern})`?:$", before[-1])
            mark = re.fullmatch("<!-- (not run: .*|run by .*) -->", before[-1])
            named = None if language in COMMANDS else first or above
            yield Block(opened, language, text, named[1] if named else None, mark[1] if mark else None)
            opened = None
            before.append("")
        else:
            lines.append(line)
    if opened is not None:
        raise Fault(f"{page}:{opened}: this block is not closed")


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """Each command of a block, with the output that must come (None: any)."""
    lines = block.text.replace("\\\n", "").splitlines()
    if not block.text.startswith("$ "):
        yield from ((line, None) for line in lines if line.strip() and not line.lstrip().startswith("#"))
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.replace("\\\n", "").partition("\n")
        yield command, output or None
