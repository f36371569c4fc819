"""Every page of the documentation does what it says. How pages are run, and what authors can mark: `doc_pages`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT, Fault, blocks, pages
from doc_pages import Run, run_page

PAGES = pages()


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def params() -> list[object]:
    """Each page; one that runs something takes longer."""
    found = []
    for page in PAGES:
        slow = any(block.is_commands or (block.language == "python" and not block.file) for block in blocks(page))
        found.append(
            pytest.param(page, id=named(page), marks=[pytest.mark.slow, pytest.mark.timeout(600)] if slow else [])
        )
    return found


@pytest.mark.parametrize("page", params())
def test_every_block_of_the_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    done = run_page(page, tmp_path)
    if done.returncode:
        pytest.fail(
            f"{done.stdout}{done.stderr}\n(again: python tests/support/doc_pages.py {named(page)})", pytrace=False
        )


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    marks = [(page, block.mark) for page in PAGES for block in blocks(page) if block.mark]
    reasons = [mark.removeprefix("not run: ") for _, mark in marks if mark.startswith("not run: ")]
    assert all(len(reason.split()) >= 3 for reason in reasons)
    assert len(reasons) <= 5
    for page, mark in marks:
        if mark.startswith("run by "):
            test = ROOT / mark.removeprefix("run by ")
            assert page.name in test.read_text("utf-8"), f"{test} does not run {named(page)}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = page.parent / path if path else page
        assert there.exists(), f"{named(page)} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, f"{named(page)} links to {target}"


def test_the_index_names_every_page() -> None:
    text = (ROOT / "docs/index.md").read_text("utf-8")
    names = [page.name for page in PAGES if page.parent == ROOT / "docs" and page.name != "index.md"]
    assert [name for name in names if f"({name})" not in text] == [], "add a line for them to docs/index.md"


BROKEN = {
    "```python\nraise SystemError('oh')\n```": "oh",
    "```python\nimport warnings; warnings.warn('old')\n```": "old",
    "```\npenrose runn\n```": "invalid choice: 'runn'",
    "```\npenrsoe run\n```": "this is no command that is run here: penrsoe run",
    "```\n$ echo one two\none three\n```": "should show\none three",
    "```\n$ penrose plugins\nerror: none\n```": "ended with 0",
    "```\npip install penrose-hots\n```": "pip install penrose-hots: no such distribution",
    "```\npip install penrose-host[everything]\n```": "pip install penrose-host[everything]: no such distribution",
    "```\n.venv/bin/python -m pip install ./plugins/penrose-nothing\n```": "no such distribution",
    "```\nnox -s lint test\n```": "nox has no session test",
    "```yaml\nexecutor: {name: torch, modell: dcn}\n```": "executor.modell",
    "```yaml\nexecutor: {name: trch}\n```": "trch",
    "```yaml\nexecutors: torch\n```": "executors: no keys of a job",
    "```toml\na = \n```": "Invalid value",
    "```json\n{oh}\n```": "Expecting property name",
    "```rust\nfn main() {}\n```": "nothing runs rust: mark it",
    "```python\n# alone.py\n```": "no command below uses alone.py",
    "`job.yaml`:\n```yaml\nname: [\n```": "job.yaml",
    "```python\npass\n": "this block is not closed",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_page_that_lies_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "page", None)
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    with pytest.raises(Fault, match=re.escape(BROKEN[text])):
        Run(page).all()


HONEST = """
A drawing, files, commands with and without output, a folder that is installed, and what another block uses:

```
 a ──▶ b
```

Write `tool/pyproject.toml`:

```toml
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tool"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["tool"]
```

```python
# tool/tool/__init__.py
answer = 42
```

```
python3 -m venv .venv && source .venv/bin/activate
cd tool && .venv/bin/pip install -e .
cd ..   # and back
```

```console
$ python -c 'import tool; print(tool.answer)'
4...
```
"""


def test_a_page_can_write_and_install_a_distribution(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(HONEST, "utf-8")
    done = run_page(page, tmp_path)
    assert done.returncode == 0, done.stderr
