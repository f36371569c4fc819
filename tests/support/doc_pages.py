"""Runs the fenced blocks of a documentation page, in their order, in a folder and an environment of the page's own.

    python tests/support/doc_pages.py docs/quickstart.md        # what the tests do with it, by hand

What is done with a block depends on its language:

* `python`: executed; all blocks of a page share one namespace.
* `yaml`: checked as a job with all its plugins; a fragment is first merged, key by key, into `JOB`. `toml`, `json`
  and `jsonl` are parsed.
* none, `console`, `sh` or `bash`: commands. Where lines start with `$ `, the lines between them are the output that
  must come (`...` stands for anything); a command that ends with an error must show a line `error: …`.
  Commands run, but for these: `pip install`, `nox` and `venv` are only checked to name what exists, except that
  `pip install` of a folder which the page wrote does install it. `&&` separates commands.
* `text`, and blocks without a language that contain lines of a drawing: pictures and outputs, left alone.

A block whose first line is `# name.ext`, or that follows a line ending in `name.ext:` (with or without backticks), is
written to that file instead, and some command must follow on the page, or its prelude name the file.

A comment on the line above a block says that it is not run here: `<!-- not run: why -->`, or
`<!-- run by tests/…py -->` where another test does. What a page needs and does not say stands in
`tests/docs/preludes/NAME.py` (of a README: the name of its distribution): it is executed first, in the namespace of
the page, where `PAGE` is its path; its `PLACEHOLDERS` are words that are replaced in commands. `JOB` is in every page's
folder, as `job.yaml`.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import types
import venv
import warnings
from pathlib import Path

from doc_blocks import ROOT, Block, Fault, blocks, commands
from doc_installs import check_nox, check_pip

PRELUDES = ROOT / "tests/docs/preludes"
COMMANDS = ("penrose", "python", "python3", "pytest", "cat", "head", "tail", "ls", "mkdir", "cp", "mv", "echo", "wc")
#: A job over made-up clicks.
JOB = """\
name: clicks
datasource: {name: clickstream, rows: 400}
executor: torch
features:
  event_time: event_time
  categorical: [user, item, category]
  lists: [history]
  numeric: [price]
  labels: [click]
  known_at: click_known_at
micro_batch: {rows: 100}
"""


def prelude(page: Path) -> Path:
    """Where the prelude of a page would be; that of a README is named after its distribution."""
    name = page.parent.name if page.stem == "README" and page.parent != ROOT else page.stem
    return PRELUDES / f"{name}.py"


class Run:
    """One page in its folder, which is the working directory of this process."""

    def __init__(self, page: Path) -> None:
        self.page, self.blocks = page, list(blocks(page))
        self.module = types.ModuleType("page")
        self.module.PAGE = page
        sys.modules["page"] = self.module
        self.prelude = prelude(page).read_text("utf-8") if prelude(page).exists() else ""
        self.execute(self.prelude, prelude(page), 1)
        self.placeholders: dict[str, str] = getattr(self.module, "PLACEHOLDERS", {})

    def all(self) -> None:
        for block in self.blocks:
            try:
                if not (block.mark or block.is_picture):
                    self.one(block)
            except Exception as error:
                raise Fault(f"{self.page}:{block.line}: {error}") from error

    def one(self, block: Block) -> None:
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, "utf-8")
            used = any(other.is_commands and other.line > block.line for other in self.blocks)
            if not used and block.file not in self.prelude:
                raise Fault(f"no command below uses {block.file}: mark it, say <!-- run by tests/…py -->")
        match block.language:
            case "python" if block.file:
                compile(block.text, block.file, "exec")
            case "python":
                self.execute(block.text, self.page, block.line)
            case "yaml":
                check_job(block.text)
            case "toml":
                tomllib.loads(block.text)
            case "json" | "jsonl":
                for text in [block.text] if block.language == "json" else block.text.splitlines():
                    json.loads(text)
            case _ if block.is_commands:
                for line, output in commands(block):
                    self.command(line, output)
            case other if not block.file:
                raise Fault(f"nothing runs {other or 'this'}: mark it <!-- not run: why -->")

    def execute(self, text: str, path: Path, line: int) -> None:
        code = compile("\n" * (line - 1) + text, str(path), "exec", dont_inherit=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(code, vars(self.module))

    def command(self, line: str, output: str | None) -> None:
        for word, value in self.placeholders.items():
            line = re.sub(rf"\b{word}\b", value, line)
        for part in re.split(r"\s+&&\s+", line):
            words = shlex.split(part.replace(".venv/bin/", ""), comments=True)
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words[1:3] == ["-m", "pip"]:
                words = words[2:]
            if words[:1] == ["cd"]:
                os.chdir(words[1])
            elif words[1:3] == ["-m", "venv"] or words[:1] == ["source"]:
                pass  # there is one already
            elif words[:2] == ["pip", "install"]:
                check_pip(words[2:])
            elif words[0] == "nox":
                check_nox(words[1:])
            elif words[0] in COMMANDS:
                shell(part.replace(".venv/bin/", ""), output)
            else:
                raise Fault(f"this is no command that is run here: {part}")


def shell(command: str, expected: str | None) -> None:
    """Run a command. Raises Fault where it fails, or shows something else than expected."""
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, check=False
    )
    wanted = bool(re.search("^error: ", expected or "", re.MULTILINE))
    if bool(done.returncode) != wanted:
        raise Fault(f"{command}\nended with {done.returncode}:\n{done.stdout}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if expected is not None and not doctest.OutputChecker().check_output(expected, done.stdout, flags):
        raise Fault(f"{command}\nshould show\n{expected}\nand shows\n{done.stdout}")


def check_job(text: str) -> None:
    """Raises ConfigError or PluginError where this is no job, nor a part of one."""
    from penrose_host.config.job import Job
    from penrose_host.config.jobfile import read_job_file, to_yaml
    from penrose_host.config.resolve import load

    path = Path(".checked.yaml")
    path.write_text(JOB, "utf-8")
    whole, _ = read_job_file(path)
    path.write_text(text, "utf-8")
    data, _ = read_job_file(path)
    if other := data.keys() - Job.model_fields.keys():
        raise Fault(f"{', '.join(sorted(other))}: no keys of a job; if this is none, mark it <!-- not run: why -->")
    path.write_text(to_yaml({**whole, **data}), "utf-8")
    load(path, environ={})
    path.unlink()


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page in this empty folder. What pip installs there sees everything that is installed here."""
    venv.create(folder / ".venv", with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder / ".venv"), "platbase": str(folder / ".venv")})
    here = sysconfig.get_path("purelib")
    Path(paths["purelib"], "outside.pth").write_text(f"import site; site.addsitedir({here!r})\n", "utf-8")
    for script, function in {"penrose": "penrose_host.cli.main", "pytest": "pytest.main"}.items():
        path, module = folder / ".venv/bin" / script, function.rpartition(".")[0]
        path.write_text(f"#!{folder}/.venv/bin/python -Werror\nimport sys, {module}\nsys.exit({function}())\n", "utf-8")
        path.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PENROSE_", "PYTHON"))}
    environ["PATH"] = os.pathsep.join([str(folder / ".venv/bin"), environ["PATH"]])
    (folder / "job.yaml").write_text(JOB, "utf-8")
    python = [str(folder / ".venv/bin/python"), __file__, str(page)]
    return subprocess.run(python, cwd=folder, env=environ, capture_output=True, text=True, timeout=560, check=False)


if __name__ == "__main__":
    if Path(sys.prefix) == Path.cwd() / ".venv":
        sys.path[0] = ""
        Run(Path(sys.argv[1])).all()
    else:
        with tempfile.TemporaryDirectory() as work:
            done = run_page(Path(sys.argv[1]).resolve(), Path(work).resolve())
        sys.exit(done.stdout + done.stderr if done.returncode else 0)
