"""`docs/errors.md`: every kind of error is there, with its exit status and a message as it is really raised."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bare_site import add_dist
from file_sink import LinesSink
from rows_support import ScribeExecutor
from run_support import FEATURES, MemorySource, make_job

from penrose_host import Deny, FeatureSpec, HookPlugin, errors as tree, hookimpl
from penrose_host.checkpoints import CheckpointStore
from penrose_host.config.resolve import load as load_job
from penrose_host.datasources.files.source import FilesSource
from penrose_host.delivery.export import export
from penrose_host.errors import PenroseError
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.plugins.index import Kind, scan
from penrose_host.plugins.loading import load
from penrose_host.plugins.selection import SelectionPolicy
from penrose_host.storage.run_directory import locked
from penrose_host.training.runtime import run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "errors.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)$\n(.*?)(?=^#|\Z)", TEXT, re.M | re.S))
CLASSES: Mapping[str, type[PenroseError]] = {name: getattr(tree, name) for name in tree.__all__}
EXAMPLES = {name: re.findall(r"^```text\n(.*?)^```$", body, re.M | re.S) for name, body in SECTIONS.items()}


def test_every_kind_of_error_has_a_section_with_its_exit_status():
    assert SECTIONS.keys() == CLASSES.keys()
    for name, body in SECTIONS.items():
        assert f"Exit status {CLASSES[name].exit_code}." in body


def test_every_section_says_why_and_what_to_do():
    for name, body in SECTIONS.items():
        assert "**Why.**" in body, name
        assert "**What to do.**" in body, name


def test_every_finding_of_the_doctor_is_there():
    sources = [path.read_text("utf-8") for path in (ROOT / "penrose_host" / "plugins" / "doctor").glob("*.py")]
    codes = {code for source in sources for code in re.findall(r"(?:Finding|Probe)\(\s*\"([a-z-]+)\"", source)}
    codes |= set(re.findall(r"\"[a-z]+\": \"([a-z-]+-plugin)\"", "".join(sources)))
    assert len(codes) > 15
    assert set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.M)) == codes


# -- messages as they are raised -------------------------------------------------------------------

GROUP = "penrose.executors"
EXECUTOR = """
from pydantic import BaseModel, ConfigDict
from penrose_host import HookPlugin
class Hook(HookPlugin):
    api_version = 9
"""


def plugins(site: Path, *dists: str, name: str = "mine", source: str = "import no_such_module") -> Any:
    for dist in dists:
        add_dist(site, dist, "1.0", {"penrose.hooks": {name: f"{name}:Hook"}}, files={f"{name}.py": source})
    return scan([str(site)])


def config_error(folder: Path) -> None:
    (folder / "job.yaml").write_text(
        "name: clicks\ndatasource: files\nexecutor: files\nfeatures: {labels: [y]}\nsede: 3\n"
    )
    load_job(folder / "job.yaml", environ={})


def not_found(folder: Path) -> None:
    SelectionPolicy(index=plugins(folder)).select(Kind.DATASOURCE, "flights")


def conflict(folder: Path) -> None:
    SelectionPolicy(index=plugins(folder, "penrose-one", "penrose-two")).select(Kind.HOOK, "mine")


def blocked(folder: Path) -> None:
    SelectionPolicy(allow_dists=["penrose-torch"], index=plugins(folder, "penrose-mine")).select(Kind.HOOK, "mine")


def broken(folder: Path) -> None:
    load(plugins(folder, "penrose-mine", name="broken_for_docs").records[0])


def incompatible(folder: Path) -> None:
    load(plugins(folder, "penrose-mine", name="newer_for_docs", source=EXECUTOR).records[0])


def bad_row(folder: Path) -> None:
    run(make_job(folder, source={"bad": [77]}))


def source_error(folder: Path) -> None:
    FilesSource(FilesSource.Options(path="clicks/*.parquet")).partitions()


def data_error(folder: Path) -> None:
    run(make_job(folder, features=FEATURES | {"categorical": ["user"]}))


def wrong_stream(folder: Path) -> None:
    run(make_job(folder, source={"stream": "orders"}, until={"rows": 100}))
    run(make_job(folder, source={"stream": "clicks"}))


def training_error(folder: Path) -> None:
    run(make_job(folder, waiting={"max_rows": 10}))


class Diverging(ScribeExecutor):
    def train(self, batch, step):
        result = super().train(batch, step)
        return dataclasses.replace(result, losses={"y": float("nan")}, applied=False) if step.sequence == 3 else result


def non_finite(folder: Path) -> None:
    run(make_job(folder, executor=Diverging))


def checkpoint_error(folder: Path) -> None:
    run(make_job(folder, until={"rows": 100}))
    run(make_job(folder, seed=7))


def damaged(folder: Path) -> None:
    run(make_job(folder, until={"rows": 100}))
    store = CheckpointStore(folder / "checkpoints")
    (victim,) = (folder / "checkpoints" / store.list()[-1].id).rglob("counts.json")
    victim.write_bytes(victim.read_bytes()[:-1])
    run(make_job(folder))


def checkpoint_not_found(folder: Path) -> None:
    run(make_job(folder, until={"rows": 100}))
    run(make_job(folder), resume_from="00000009-e1")


def fenced(folder: Path) -> None:
    class Replaced(MemorySource):
        def read(self, max_rows: int, timeout: float) -> Any:
            if self._next["p0"] == 256:
                CheckpointStore(folder / "checkpoints").claim(None)
            return super().read(max_rows, timeout)

    run(make_job(folder, datasource=Replaced))


class Strict(HookPlugin):
    api_version = 1

    @hookimpl
    def allow_export(self):
        return Deny("AUC fell")


def denied(folder: Path) -> None:
    hooks = Hooks()
    hooks.register("auc-guard", Strict(Strict.Options()))
    export(ScribeExecutor(), FeatureSpec(), folder / "model", hooks, {}, folder)


def run_directory(folder: Path) -> None:
    with locked(folder):
        run(make_job(folder))


def sink_error(folder: Path):
    LinesSink(LinesSink.Options(topic=str(folder / "no" / "file"))).open()


RAISED: dict[str, Callable[[Path], None]] = {
    "ConfigError": config_error,
    "PluginNotFound": not_found,
    "PluginConflict": conflict,
    "PluginBlocked": blocked,
    "PluginBroken": broken,
    "PluginIncompatible": incompatible,
    "DataError": data_error,
    "BadRow": bad_row,
    "SourceError": source_error,
    "WrongStream": wrong_stream,
    "TrainingError": training_error,
    "NonFiniteLoss": non_finite,
    "CheckpointError": checkpoint_error,
    "CheckpointDamaged": damaged,
    "CheckpointNotFound": checkpoint_not_found,
    "Fenced": fenced,
    "ExportDenied": denied,
    "RunDirectoryError": run_directory,
    "SinkError": sink_error,
}


def test_every_example_is_checked():
    assert {name for name, examples in EXAMPLES.items() if examples} == RAISED.keys()


@pytest.mark.parametrize("name", RAISED)
def test_the_example_is_what_is_raised(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CLASSES[name]) as raised:
        RAISED[name](tmp_path)

    assert type(raised.value) is CLASSES[name]
    (example,) = EXAMPLES[name]
    pattern = ".*?".join(map(re.escape, example.rstrip("\n").split("…")))
    assert re.fullmatch(pattern, f"error: {raised.value}", re.S)
