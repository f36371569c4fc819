"""`penrose new`: what it writes, and what it refuses."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from code_lines import lines_of_code
from doc_blocks import blocks, commands
from packaging.requirements import Requirement
from uv_pip import OFFLINE, uv_pip

from penrose_host.cli import main
from penrose_host.cli.new import KINDS, render


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mine", "my-very-own", "x9", "my-executor", "a" * 50])
def test_what_is_written_parses_and_fits_together(kind: str, name: str) -> None:
    files = dict(render(kind, name))
    package = "penrose_" + name.replace("-", "_")
    assert set(files) == {
        "pyproject.toml",
        "README.md",
        f"src/{package}/__init__.py",
        f"src/{package}/{kind}.py",
        f"tests/test_{kind}.py",
    }
    project = tomllib.loads(files["pyproject.toml"])["project"]
    ((group, entries),) = project["entry-points"].items()
    ((entry, target),) = entries.items()
    assert (project["name"], group, entry) == (f"penrose-{name}", f"penrose.{kind}s", name)
    assert "penrose-host" in [Requirement(text).name for text in project["dependencies"]]
    module, _, attribute = target.partition(":")
    source = files[f"src/{module.replace('.', '/')}.py"]
    assert attribute in [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert attribute in files[f"tests/test_{kind}.py"]
    for path, text in files.items():
        assert text.endswith("\n")
        assert "$" not in text, path
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_a_kind_at_the_end_of_a_name_is_not_said_twice() -> None:
    files = dict(render("executor", "my-executor"))
    assert "class MyExecutor(Executor)" in files["src/penrose_my_executor/executor.py"]


def test_an_executor_starts_with_less_than_sixty_lines_of_code() -> None:
    source = dict(render("executor", "mine"))["src/penrose_mine/executor.py"]
    assert lines_of_code(source) < 60


def new(*arguments: str) -> int:
    return main(["new", *arguments])


def test_it_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "with blanks" / "deep"
    assert new("hook", "mine", "--directory", str(folder)) == 0
    written, install, test, show = capsys.readouterr().out.splitlines()
    assert written == f"{folder}/penrose-mine is written. Next:"
    assert install == f"  pip install -e '{folder}/penrose-mine' \"penrose-host[testing]\""
    assert test == f"  pytest '{folder}/penrose-mine'"
    assert show == "  penrose plugins show mine --kind hook"
    assert [path.name for path in folder.iterdir()] == ["penrose-mine"]


BAD = ["", "Mine", "my_own", "9x", "-x", "x-", "a--b", "../up", "a/b", "a.b", "a b", "ü", "a\n", "penrose-a", "a" * 51]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        new("executor", "--directory", str(tmp_path), "--", name)
    assert ended.value.code == 2
    assert "is no name for a plugin" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("datasource", "files", r"the datasource 'files' is provided by penrose-host [\d.]+ already"),
        ("executor", "river", r"the executor 'river' is provided by penrose-river( [\d.]+)? already"),
        ("hook", "host", r"the distribution penrose-host [\d.]+ is installed already"),
        ("hook", "river", r"(there is another|the) distribution penrose-river( [\d.]+ is installed)? already"),
    ],
)
def test_a_name_that_is_taken_is_refused(
    kind: str, name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(kind, name, "--directory", str(tmp_path)) == 1
    assert re.search(f"{why}: nothing was written", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_exists_is_left_alone(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "penrose-mine"
    if what == "folder":
        target.mkdir()
    elif what == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    assert new("executor", "mine", "--directory", str(tmp_path)) == 1
    assert "penrose-mine exists: nothing was written\n  choose another NAME" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert new("executor", "mine", "--directory", str(tmp_path / "file")) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, text: str, encoding: str) -> int:
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(Path, "write_text", full)
    assert new("executor", "mine", "--directory", str(tmp_path)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_installed_it_does_what_its_readme_says(kind: str, tmp_path: Path) -> None:
    assert new(kind, "mine", "--directory", str(tmp_path)) == 0
    dist = tmp_path / "penrose-mine"
    subprocess.run(uv_pip("install", *OFFLINE, "--target", tmp_path / "site", dist), check=True, timeout=120)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), *filter(None, [environ.get("PYTHONPATH")])])
    programs = {"penrose": ["-c", CLI], "pytest": ["-m", "pytest"]}
    shown: dict[str, str] = {}
    for block in blocks(dist / "README.md"):
        if block.file:
            (dist / block.file).write_text(block.text, "utf-8")
        for line, _ in commands(block) if block.is_commands else ():
            program, *arguments = shlex.split(line, comments=True)
            if program == "pip":
                continue
            command = [sys.executable, "-W", "error", *programs[program], *arguments]
            done = subprocess.run(command, cwd=dist, env=environ, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            shown[" ".join([program, *arguments])] = done.stdout + done.stderr

    listed, described, tested, ran = shown.values()
    assert list(shown) == [
        "penrose plugins",
        f"penrose plugins show mine --kind {kind}",
        "pytest",
        "penrose replay clickstream -o datasource.rows=2000 --event-time event_time --to mine -o sink.file=clicks.jsonl"
        if kind == "sink"
        else "penrose run job.yaml",
    ]
    assert [kind, "mine", "penrose-mine", "0.1.0", "ok"] in [line.split() for line in listed.splitlines()]
    assert described.startswith(f"{kind} mine: ")
    assert re.search(r"=== [0-9]+ passed in ", tested)
    if kind == "sink":
        assert "the stream has ended: 2,000 rows published" in ran
        assert len((dist / "clicks.jsonl").read_text("utf-8").splitlines()) == 2000
        return
    rows, auc = re.search(r"the stream has ended: ([\d,]+) rows scored.*\nauc (\S+)", ran).groups()
    assert rows in ("15,000", "20,000")
    assert float(auc) > 0.6
    if kind == "hook":
        run_dir = dist / "runs/clicks"
        lines = [json.loads(line) for line in (run_dir / "reports.jsonl").read_text("utf-8").splitlines()]
        assert lines[0] == {"started": "clicks"}
        reports = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert [line["rows"] for line in lines[1:-1]] == [report["rows"] for report in reports]
        assert lines[-1] == {"ended": "end-of-stream"}
