"""A job and its plugins together: selected, loaded, options validated, all faults in one error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penrose_host.config.difference import difference
from penrose_host.config.layers import Flags
from penrose_host.config.resolve import Resolved, load, resolve
from penrose_host.errors import ConfigError, PluginBlocked, PluginBroken, PluginConflict, PluginNotFound
from penrose_host.plugins.index import Index, scan
from penrose_host.plugins.selection import SelectionPolicy

PLUGINS = """
from enum import Enum
from typing import Annotated, Any, Literal
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from penrose_host import DataSource, EmbeddingBackend, Executor, HookPlugin, hookimpl
from penrose_host.options.durations import Duration


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Sgd(Model):
    name: Literal["sgd"] = "sgd"
    rate: float = Field(0.1, gt=0, description="step size")


class Adam(Model):
    name: Literal["adam"] = "adam"
    rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)


class Source(DataSource):
    api_version = 1

    class Options(Model):
        path: str
        every: Duration = 5_000_000
        token: SecretStr = SecretStr("")

    source_id = "fake"
    def partitions(self): return []
    def open(self, assignment): pass
    def read(self, max_rows, timeout): pass
    def close(self): pass


class Trainer(Executor):
    api_version = 1
    options_schema = "fake"

    class Options(Model):
        optimizer: Sgd | Adam = Field(Sgd(), discriminator="name")
        device: str = Field("cpu", json_schema_extra={"fingerprint": False})

    def setup(self, context): pass
    def predict(self, batch): pass
    def train(self, batch, step): pass
    def snapshot(self): pass
    def restore(self, reader): pass
    def export(self, directory): pass
    def close(self): pass


class Twin(Trainer):
    pass


class Stranger(Trainer):
    options_schema = None


class Tabular(Trainer):
    default_embedding = "hashing"


class Demanding(Trainer):
    default_embedding = "elsewhere"


class Native(Trainer):
    default_embedding = "tfplus"


class Watcher(HookPlugin):
    api_version = 1

    class Options(Model):
        channel: str

    @hookimpl
    def reported(self, metrics): pass
"""
JOB = """\
name: test
datasource: {name: fakesource, path: data, token: hunter2}
executor: faketrainer
hooks: [{name: watcher, channel: ops}]
features: {event_time: ts, labels: [y]}
"""


@pytest.fixture
def path(site, tmp_path) -> Path:
    site.add(
        "penrose-fakes",
        {
            "penrose.datasources": {"fakesource": "fake_plugins:Source"},
            "penrose.executors": {
                "faketrainer": "fake_plugins:Trainer",
                "twin": "fake_plugins:Twin",
                "stranger": "fake_plugins:Stranger",
                "tabular": "fake_plugins:Tabular",
                "demanding": "fake_plugins:Demanding",
                "native": "fake_plugins:Native",
            },
            "penrose.hooks": {"watcher": "fake_plugins:Watcher"},
        },
        {"fake_plugins": PLUGINS},
    )
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    return job


def loaded(path: Path, *options: str) -> Resolved:
    return load(path, Flags(options=options), {})


def test_a_job_resolves_to_its_plugins_with_complete_options(path):
    resolved = loaded(path)

    assert resolved.environment.record.dist == "penrose-host"
    assert resolved.datasource.create().options.token.get_secret_value() == "hunter2"
    assert resolved.embedding is None
    assert [hook.record.name for hook in resolved.hooks] == ["watcher"]
    assert resolve(resolved.job).to_dict() == resolved.to_dict()


def test_a_plugin_takes_over_the_options_that_mean_the_same_to_it(path):
    path.write_text(
        JOB.replace(
            "executor: faketrainer", "executor: {name: faketrainer, device: tpu, optimizer: {name: sgd, rate: 3}}"
        )
    )

    def options(name: str, *more: str) -> tuple[str, float]:
        found = load(path, Flags(executor=name, options=more), {}).executor.options
        return found.device, found.optimizer.rate

    assert options("twin") == ("tpu", 3.0)
    assert options("penrose-fakes:twin", "executor.optimizer.rate=4") == ("tpu", 4.0)
    assert options("twin", "executor.optimizer={name: adam}", "executor.device=cpu") == ("cpu", 0.01)
    assert options("stranger") == ("cpu", 0.1)
    assert options("stranger", "executor.optimizer={name: sgd, rate: 4}") == ("cpu", 4.0)
    assert load(path, Flags(), {"PENROSE_EXECUTOR": "twin"}).executor.options.device == "tpu"
    for variable, flag in [("twin", "faketrainer"), ("stranger", "twin"), ("stranger", "faketrainer")]:
        found = load(path, Flags(executor=flag, options=("executor.optimizer.rate=5",)), {"PENROSE_EXECUTOR": variable})
        assert (found.executor.options.device, found.executor.options.optimizer.rate) == ("tpu", 5.0)
    with pytest.raises(ConfigError, match=r"executor\.optimizer\.rte"):
        options("twin", "executor.optimizer.rte=4")
    assert options("stranger", "executor={name: twin}") == ("cpu", 0.1)


def test_what_is_installed_has_no_say_in_which_options_a_plugin_takes_over(path):
    path.write_text(JOB.replace("executor: faketrainer", "executor: {name: torch, width: 3}"))
    bare = Index(tuple(record for record in scan().records if record.name != "torch"))
    found = load(path, Flags(executor="tensorflow"), {}, policy=SelectionPolicy(index=bare))
    assert found.executor.options.width == 3
    path.write_text(JOB.replace("executor: faketrainer", "executor: {name: gone, device: tpu}"))
    with pytest.raises(ConfigError, match=r"executor plugin 'gone'; to leave them out: -o 'executor=\{name: twin\}'"):
        load(path, Flags(executor="twin"), {})
    assert load(path, Flags(executor="stranger"), {}).executor.options.device == "cpu"
    assert loaded(path, "executor={name: twin}").executor.options.device == "cpu"


# -- the embedding of a job that names none ---------------------------------------------------------


def embedding(path: Path, *options: str, **how) -> str | None:
    found = load(path, Flags(options=options), {}, **how).embedding
    return found.record.name if found is not None else None


def test_a_job_without_an_embedding_has_what_its_executor_says_whatever_is_installed(path):
    assert embedding(path) is None
    assert embedding(path, "executor=tabular") == "hashing"
    assert embedding(path, "executor=tabular", "embedding=none") is None
    with pytest.raises(PluginNotFound) as raised:
        embedding(path, "executor=demanding")
    assert "there is no embedding plugin 'elsewhere'" in raised.value.message
    assert "the executor demanding uses it where a job names no embedding" in str(raised.value)
    assert "--embedding hashing, or --embedding none" in str(raised.value)
    assert embedding(path, "executor=demanding", "embedding=hashing") == "hashing"


def test_a_known_backend_that_is_not_installed_or_blocked_is_an_error_that_says_what_to_type(path, site):
    records = tuple(record for record in scan().records if record.name != "tfplus")
    with pytest.raises(PluginNotFound, match=r"pip install penrose-tfplus\n(.|\n)*--embedding hashing"):
        embedding(path, "executor=native", policy=SelectionPolicy(index=Index(records)))
    with pytest.raises(PluginBlocked, match=r"--block hashing(.|\n)*--embedding none"):
        embedding(path, "executor=tabular", policy=SelectionPolicy(block=["hashing"]))


def test_a_run_directory_keeps_the_embedding_that_it_was_begun_with(path, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    kept, there = run_dir / "job.yaml", f"run_dir={run_dir}"
    kept.write_text(loaded(path, "embedding={name: hashing, rows: 8}").to_yaml())
    found = loaded(path, there)
    assert found.embedding is not None
    assert found.embedding.to_dict() == {"name": "hashing", "rows": 8}
    assert embedding(path, there, "embedding=none") is None
    assert embedding(path, there, fresh=True) is None
    assert embedding(path, there, "executor=stranger") is None  # another model
    kept.write_text(loaded(path, "executor=tabular", "embedding=none").to_yaml())
    assert embedding(path, there, "executor=tabular") is None
    assert embedding(path, there, "executor=tabular", fresh=True) == "hashing"
    kept.write_text("name: no job of a run\n")
    assert embedding(path, there, "executor=tabular") == "hashing"


def test_an_option_of_a_plugin_that_has_none_is_told_so(path):
    with pytest.raises(ConfigError, match=r"environment\.foo: is unknown: there is nothing to set here"):
        loaded(path, "environment=local", "environment.foo=1")


def test_the_resolved_job_shows_every_default_and_no_secret(path, tmp_path):
    shown = loaded(path).to_dict()

    assert shown["datasource"] == {"name": "fakesource", "path": "data", "every": "5s", "token": "**********"}
    assert shown["executor"] == {"name": "faketrainer", "optimizer": {"name": "sgd", "rate": 0.1}, "device": "cpu"}
    assert shown["environment"] == {"name": "local"}
    assert "hunter2" not in json.dumps(shown)
    again = tmp_path / "again.yaml"
    again.write_text(loaded(path).to_yaml())
    assert load(again, None, {}).to_dict() == shown


def test_faults_of_the_job_and_of_several_plugins_come_in_one_error(path):
    with pytest.raises(ConfigError) as raised:
        loaded(
            path, "seed=x", "datasource.pth=1", "executor.optimizer={name: adam, rte: 1}", "hooks=[{name: watcher}]",
            "embedding={name: hashing, rows: 0}",
        )  # fmt: skip

    found = dict(raised.value.faults)
    assert set(found) == {"seed", "datasource.pth", "executor.optimizer.rte", "hooks.0.channel", "embedding.rows"}
    assert "did you mean `path`?" in found["datasource.pth"]
    assert "did you mean `rate`?" in found["executor.optimizer.rte"]
    assert "(-o datasource.pth)" in found["datasource.pth"]
    assert "(-o executor.optimizer)" in found["executor.optimizer.rte"]


def test_a_fault_of_an_option_says_on_which_line_of_the_file_it_stands(path):
    path.write_text(JOB.replace("path: data", "path: [1]"))
    with pytest.raises(ConfigError, match=r"datasource\.path: .*job\.yaml:2\)"):
        loaded(path)


def test_an_option_that_stands_deeper_is_suggested_with_its_whole_place(path):
    with pytest.raises(ConfigError, match=r"executor\.rate: is unknown; did you mean `executor\.optimizer\.rate`\?"):
        loaded(path, "executor.rate=1")


def test_one_plugin_that_cannot_be_used_raises_its_own_error(path):
    with pytest.raises(PluginNotFound, match="there is no executor plugin 'nowhere'"):
        load(path, Flags(executor="nowhere"), {})


def test_a_plugin_that_cannot_be_used_is_listed_with_the_other_faults(path):
    with pytest.raises(ConfigError) as raised:
        load(path, Flags(executor="nowhere", options=("seed=x",)), {})
    assert dict(raised.value.faults).keys() == {"seed", "executor"}
    assert "there is no executor plugin 'nowhere'" in str(raised.value)


def test_options_of_no_embedding_are_a_fault(path):
    with pytest.raises(ConfigError, match=r"embedding\.rows: .*`none` has none"):
        loaded(path, "embedding={name: none, rows: 3}")


def test_a_selected_plugin_that_breaks_and_one_of_two_distributions_are_errors(path, site):
    site.add("penrose-bad", {"penrose.executors": {"bad": "bad_plugin:X"}}, {"bad_plugin": "raise SystemExit(0)"})
    site.add("penrose-other", {"penrose.datasources": {"fakesource": "fake_plugins:Source"}})
    with pytest.raises(ConfigError, match="penrose-bad"):
        load(path, Flags(executor="bad"), {})
    with pytest.raises(PluginConflict, match=r"penrose-fakes .* and penrose-other"):
        load(path, None, {})
    with pytest.raises(PluginBroken, match="penrose-bad"):
        load(path, Flags(executor="bad", datasource="penrose-fakes:fakesource"), {})
    assert (
        load(path, None, {}, policy=SelectionPolicy(block=["penrose-other:fakesource"])).datasource.record.dist
        == "penrose-fakes"
    )


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("seed=1", "seed"),
        ("order=arrival", "order"),
        ("micro_batch.rows=3", "micro_batch.rows"),
        ("executor.optimizer={name: adam}", "executor.optimizer"),
        ("embedding={name: hashing, rows: 8}", "embedding"),
        ("features={event_time: ts, labels: [z]}", "features.labels"),
    ],
)
def test_what_a_checkpoint_depends_on_is_in_the_fingerprint(path, option, place):
    changed = difference(loaded(path).fingerprint(), loaded(path, option).fingerprint())
    assert changed
    assert all(line.startswith(place) for line in changed)


@pytest.mark.parametrize(
    "option",
    [
        "checkpoint.rows=7",
        "run_dir=elsewhere",
        "datasource.path=other",
        "until.rows=3",
        "report.rows=3",
        "metrics.window_rows=9",
        "executor.device=cuda",
        "executor.optimizer={name: sgd, rate: 0.1}",
        "executor=penrose-fakes:faketrainer",
        "hooks=[]",
        "name=renamed",
    ],
)
def test_what_a_checkpoint_does_not_depend_on_is_not(path, option):
    before, now = loaded(path).fingerprint(), loaded(path, option).fingerprint()
    assert json.loads(json.dumps(before)) == now
