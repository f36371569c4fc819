"""Sets of installed plugins × commands: the exact exit status and kind of message of each."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bare_site import BareSite, lay_foundation

import penrose_host

EXECUTOR = """
import json
import numpy as np
from pydantic import BaseModel, ConfigDict
from penrose_host import Executor, FilesSnapshot, StepResult

class Executor(Executor):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
    def setup(self, context): pass
    def predict(self, batch): return {"y": np.full(len(batch), 0.5, np.float32)}
    def train(self, batch, step): return StepResult({"y": 0.7}, self.predict(batch))
    def snapshot(self): return FilesSnapshot({"state.json": b"{}"})
    def restore(self, reader): json.loads(reader.read("state.json"))
    def export(self, directory): pass
    def close(self): pass
"""
JOB = """\
name: job
datasource: {name: files, path: rows.csv}
executor: mine
features:
  event_time: {column: t, unit: s}
  categorical: [x]
  labels: [y]
"""
ROWS = "t,x,y\n1,a,0\n2,b,1\n3,a,1\n"


def add(bare: BareSite, name: str, source: str = EXECUTOR, *, dist: str | None = None) -> Path:
    """A distribution with one executor."""
    module = f"{name}_{(dist or 'own').replace('-', '_')}"
    entry_points = {"penrose.executors": {name: f"{module}:Executor"}}
    return bare.add(dist or f"penrose-{name}", "1.0", entry_points, files={f"{module}.py": source})


def nothing(bare: BareSite) -> None:
    pass


def mine(bare: BareSite) -> None:
    add(bare, "mine")


def twins(bare: BareSite) -> None:
    add(bare, "mine", dist="penrose-one")
    add(bare, "mine", dist="penrose-two")


def and_sick(source: str) -> Callable[[BareSite], None]:
    """A healthy plugin, and `sick`."""

    def build(bare: BareSite) -> None:
        add(bare, "mine")
        add(bare, "sick", source)

    return build


def and_no_metadata(bare: BareSite) -> None:
    add(bare, "mine")
    (add(bare, "sick") / "METADATA").unlink()


def and_unreadable(bare: BareSite) -> None:
    add(bare, "mine")
    (add(bare, "sick") / "entry_points.txt").write_text("[penrose.executors]\nsick\n")


@dataclass(frozen=True)
class Expected:
    """What the commands say of one set of plugins; `distribution → status` where it is not `ok`."""

    build: Callable[[BareSite], None]
    #: The distributions whose plugins are listed.
    dists: tuple[str, ...] = ("penrose-mine", "penrose-sick")
    #: What `run` selects, how it ends, and what it says.
    select: str = "sick"
    run: tuple[int, str | None, str] = (0, None, "")
    #: A run that selects something else; None where there is nothing else.
    beside: str | None = "mine"
    listed: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)
    doctor: tuple[int, tuple[str, ...]] = (0, ())
    #: The plugin API that the host speaks, where that is not its own.
    host_api: int | None = None


NO_METADATA = r"broken: its METADATA is missing or damaged \(.*penrose_sick-1.0.dist-info\)"
SETS = {
    "none": Expected(
        nothing, dists=(), select="mine", beside=None, run=(3, "PluginNotFound", "there is no executor plugin 'mine'")
    ),
    "one": Expected(mine, dists=("penrose-mine",), select="mine", beside="penrose-mine:mine"),
    "two with one name": Expected(
        twins,
        dists=("penrose-one", "penrose-two"),
        select="mine",
        run=(3, "PluginConflict", "is provided twice: by penrose-one 1.0 .* and penrose-two 1.0 .*penrose-two:mine"),
        beside="penrose-two:mine",
        listed={"penrose-one": "also in penrose-two", "penrose-two": "also in penrose-one"},
        loaded={"penrose-one": "also in penrose-two", "penrose-two": "also in penrose-one"},
        doctor=(1, ("name-twice",)),
    ),
    "raises on import": Expected(
        and_sick("raise OSError('no luck')"),
        run=(3, "PluginBroken", "of penrose-sick 1.0 is broken: importing .* raised OSError: no luck.*--traceback"),
        loaded={"penrose-sick": ".* raised OSError: no luck"},
        doctor=(1, ("broken-plugin",)),
    ),
    "calls sys.exit on import": Expected(
        and_sick("import sys; sys.exit(0)"),
        run=(3, "PluginBroken", r"raised SystemExit: 0 \(the program would have ended\).*--traceback"),
        loaded={"penrose-sick": ".* raised SystemExit: 0 .*"},
        doctor=(1, ("broken-plugin",)),
    ),
    "slow to import": Expected(and_sick("import time; time.sleep(1.2)\n" + EXECUTOR), doctor=(0, ("slow-plugin",))),
    "a newer API than the host's": Expected(
        and_sick(EXECUTOR.replace("api_version = 1", "api_version = 2")),
        run=(3, "PluginIncompatible", "plugin API 2; this host accepts 1.*pip install --upgrade penrose-host "),
        loaded={"penrose-sick": ".*written for plugin API 2; this host accepts 1"},
        doctor=(1, ("incompatible-plugin",)),
    ),
    "an older API than the host's": Expected(
        and_sick(EXECUTOR.replace("api_version = 1", "api_version = 3")),
        select="mine",
        run=(3, "PluginIncompatible", "plugin API 1; this host accepts 3 and 2.*pip install --upgrade penrose-mine "),
        beside="sick",
        loaded={"penrose-mine": ".*written for plugin API 1; this host accepts 3 and 2"},
        doctor=(1, ("incompatible-plugin",)),
        host_api=3,
    ),
    "the API before the host's": Expected(and_sick(EXECUTOR), host_api=2),
    "no METADATA": Expected(
        and_no_metadata,
        dists=("penrose-mine", "penrose_sick"),
        run=(3, "PluginBroken", "its METADATA is missing or damaged.*pip install --force-reinstall penrose_sick"),
        listed={"penrose_sick": NO_METADATA},
        loaded={"penrose_sick": NO_METADATA},
        doctor=(1, ("damaged-metadata", "broken-plugin")),
    ),
    "entry points that are none": Expected(
        and_unreadable,
        dists=("penrose-mine",),
        run=(3, "PluginNotFound", "there is no executor plugin 'sick'.*not readable: .*penrose_sick-1.0.dist-info"),
        doctor=(1, ("damaged-metadata",)),
    ),
}
NAMES = list(SETS)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BareSite]:
    """Gives the site of each set, made once; no command may change what another sees there."""
    foundations = functools.cache(functools.partial(foundation, tmp_path_factory))

    @functools.cache
    def made(name: str) -> BareSite:
        site = BareSite(tmp_path_factory.mktemp("set"), foundations(SETS[name].host_api))
        SETS[name].build(site)
        (site.work / "job.yaml").write_text(JOB)
        (site.work / "rows.csv").write_text(ROWS)
        return site

    return made


def foundation(tmp_path_factory: pytest.TempPathFactory, api: int | None) -> Path:
    """The host, or one that speaks another plugin API, with built-in plugins that were written for it."""
    folder = lay_foundation(tmp_path_factory.mktemp("foundation") / "site")
    if api is None:
        return folder
    host = folder / "penrose_host"
    host.unlink()
    shutil.copytree(Path(penrose_host.__file__).parent, host, ignore=shutil.ignore_patterns("__pycache__"))
    for path in host.rglob("*.py"):
        text = path.read_text("utf-8")
        path.write_text(
            re.sub(r"^(API_VERSION|    api_version(: [\w\[\]]+)?) = 1$", rf"\1 = {api}", text, flags=re.M), "utf-8"
        )
    return folder


BUILT_IN = ("local", "files", "clickstream", "hashing", "auc-guard")


def unless_alone(name: str) -> tuple[str, ...]:
    """Importing the host's own plugins takes time: with one set they are imported, with the others not."""
    return () if name == "one" else tuple(f"--block=penrose-host:{plugin}" for plugin in BUILT_IN)


def statuses(output: str) -> dict[str, str]:
    """Distribution → status, of what the set has added."""
    rows = json.loads(output)
    assert {row["name"] for row in rows} >= set(BUILT_IN)
    assert {row["status"] for row in rows if row["name"] == "local"} <= {"ok", "blocked by --block penrose-host:local"}
    return {row["dist"]: row["status"] for row in rows if row["dist"] != "penrose-host"}


def assert_like(found: Mapping[str, str], name: str, expected: Mapping[str, str]) -> None:
    assert found.keys() == set(SETS[name].dists)
    assert expected.keys() <= found.keys()
    for dist, status in found.items():
        assert re.fullmatch(expected.get(dist, "ok"), status)


@pytest.mark.parametrize("name", NAMES)
def test_help(bare, name):
    result = bare(name).penrose("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: penrose")


@pytest.mark.parametrize("name", NAMES)
def test_plugins(bare, name):
    result = bare(name).penrose("plugins", "--json")
    assert result.returncode == 0
    assert_like(statuses(result.stdout), name, SETS[name].listed)
    assert ("warning: cannot read" in result.stderr) == (SETS[name].build is and_unreadable)
    assert len(result.stderr.splitlines()) == (SETS[name].build is and_unreadable)


@pytest.mark.parametrize("name", NAMES)
def test_plugins_load(bare, name):
    result = bare(name).penrose("plugins", "--load", "--json", *unless_alone(name))
    assert (result.returncode, "error" in result.stderr) == (0, False)
    assert_like(statuses(result.stdout), name, SETS[name].loaded)


@pytest.mark.parametrize("name", NAMES)
def test_doctor(bare, name):
    result = bare(name).penrose("doctor", "--json", *unless_alone(name))
    report = json.loads(result.stdout)
    found = tuple(finding["code"] for finding in report["findings"])
    assert ((result.returncode, found), result.stderr) == (SETS[name].doctor, "")
    assert report["healthy"] == (result.returncode == 0)
    assert all(finding["message"] and finding["hint"] for finding in report["findings"])


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_selects_it(bare, name, tmp_path):
    status, kind, said = SETS[name].run
    arguments = ("run", "job.yaml", "--executor", SETS[name].select, "--run-dir", str(tmp_path / "run"))
    result = bare(name).penrose(*arguments, "--traceback")

    assert result.returncode == status
    raised = re.findall(r"^penrose_host\.errors\.(\w+):", result.stderr, re.M)
    assert raised[-1:] == ([kind] if kind else [])
    if kind is None:
        assert "3 rows scored, 3 trained" in result.stderr
    else:
        told = result.stderr.rpartition("error: ")[2]
        assert re.search(said, told, re.S)
        assert "\n  " in told
        plain = bare(name).penrose(*arguments)
        assert (plain.returncode, plain.stdout) == (status, "")
        assert plain.stderr.startswith("error: ")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if SETS[name].beside])
def test_a_run_that_does_not_select_it(bare, name, tmp_path):
    beside = SETS[name].beside
    result = bare(name).penrose("run", "job.yaml", "--executor", beside, "--run-dir", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    # A report, how it ended, the metrics, where it is: not a word about the other plugins.
    shown = result.stderr.splitlines()
    assert (len(shown), shown[1].partition(",")[0]) == (4, "the stream has ended: 3 rows scored")


# -- many plugins ----------------------------------------------------------------------------------

HEAVY = ("numpy", "pyarrow", "rich", "fsspec", "pydantic", "pluggy", "stevedore", "yaml", "packaging", "asyncio")
IMPORTED = """
import json, sys
from penrose_host.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
assert not status, status
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Thirty plugins, three of them broken; all but the last would import something heavy."""
    site = BareSite(tmp_path_factory.mktemp("many"), foundation(tmp_path_factory, None))
    for number in range(30):
        source = EXECUTOR if number == 29 else f"import {', '.join(HEAVY)}\n" + EXECUTOR
        source = "raise SystemExit(9)" if number == 3 else source
        info = add(site, f"plugin{number}", source)
        if number == 4:
            (info / "METADATA").unlink()
        if number == 5:
            (info / "entry_points.txt").write_text("[penrose.executors]\nplugin5\n")
    return site


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("plugins",), ("plugins", "--json"), ("plugins", "--help"), ("run", "--help"), ("doctor", "--help")],
)
def test_thirty_plugins_of_which_three_are_broken_are_not_imported(many, arguments):
    result = many.python(IMPORTED, *arguments)
    assert result.returncode == 0, result.stderr
    modules = set(json.loads(result.stdout.splitlines()[-1]))
    assert modules.isdisjoint(HEAVY)
    assert not [name for name in modules if name.startswith("plugin")]
    if arguments == ("plugins",):
        assert sum("penrose-plugin" in line and line.endswith(" ok") for line in result.stdout.splitlines()) == 28
        assert "broken: its METADATA" in result.stdout
        assert "penrose_plugin5-1.0.dist-info" in result.stderr


def test_a_broken_plugin_among_thirty_harms_no_other(many, tmp_path):
    (many.work / "job.yaml").write_text(JOB)
    (many.work / "rows.csv").write_text(ROWS)
    result = many.penrose("run", "job.yaml", "--executor", "plugin29", "--run-dir", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
