"""Options of the datasource `kafka`: what is refused and why, and that no secret comes to light. No broker needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st
from pydantic import ValidationError

from penrose_host.errors import ConfigError
from penrose_host.options.faults import faults_of
from penrose_kafka.client_config import bad_option, resolved
from penrose_kafka.client_options import Secret
from penrose_kafka.source.kafka_source import KafkaSource
from penrose_kafka.source.options import KafkaOptions

BASE: dict[str, Any] = {"brokers": "127.0.0.1:9092", "topics": "clicks"}
WORD = "hunter2-is-the-word"


def made(**options: Any) -> KafkaOptions:
    return KafkaOptions.model_validate(BASE | options)


def faults(**options: Any) -> str:
    """What is printed of options that are refused."""
    given = {key: value for key, value in (BASE | options).items() if value is not ...}
    with pytest.raises(ValidationError) as caught:
        KafkaOptions.model_validate(given)
    assert WORD not in str(caught.value)
    found = faults_of(caught.value, KafkaOptions, given, "datasource")
    return "\n".join(f"{place}: {message}" for place, message in found)


@pytest.mark.parametrize("brokers", ["a:1,b:2", "a:1 , b:2", ["a:1", "b:2"]])
def test_brokers_are_text_or_a_list(brokers: Any) -> None:
    assert made(brokers=brokers).brokers == ["a:1", "b:2"]


@pytest.mark.parametrize(
    ("topics", "found"),
    [("clicks", ["clicks"]), ("clicks, views", ["clicks", "views"]), (["^click{1,3}$"], ["^click{1,3}$"])],
)
def test_topics_are_text_or_a_list_and_expressions_may_be_among_them(topics: Any, found: list[str]) -> None:
    assert made(topics=topics).topics == found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"brokers": ...}, ["datasource.brokers", "missing"]),
        ({"brokers": []}, ["datasource.brokers"]),
        ({"brokers": "a:1,,b:2"}, ["datasource.brokers: should not be empty"]),
        ({"brokers": 9092}, ["datasource.brokers"]),
        ({"topics": []}, ["datasource.topics"]),
        ({"topics": ""}, ["datasource.topics"]),
        ({"topics": "a b"}, ["'a b'", "no topic's name"]),
        ({"topics": "clicks*"}, ["'clicks*'", "begins with `^`"]),
        ({"topics": ["a", "a"]}, ["each topic once"]),
        ({"topics": ["^("]}, ["'^('", "no regular expression"]),
        ({"topics": "x" * 250}, ["no topic's name"]),
        ({"topics": "клики"}, ["no topic's name"]),
        ({"topics": ".."}, ["no topic's name"]),
        ({"start": "now"}, ["datasource.start", "`latest`"]),
        ({"start": "yesterday"}, ["datasource.start"]),
        ({"start": {"clicks/0": -1}}, ["datasource.start.clicks/0"]),
        ({"start": 5}, ["datasource.start"]),
        ({"end": "latest"}, ["datasource.end", "`now`"]),
        ({"end": "earliest"}, ["datasource.end"]),
        ({"end": {"clicks/0": "x"}}, ["datasource.end.clicks/0"]),
        ({"discover": "0s"}, ["datasource.discover"]),
        ({"patience": "soon"}, ["datasource.patience"]),
        ({"prefetch_bytes": 1000}, ["datasource.prefetch_bytes"]),
        ({"expired": "perhaps"}, ["datasource.expired", "fail", "skip"]),
        ({"topic": "clicks"}, ["datasource.topic", "is unknown"]),
        ({"dead_letter_topic": "clicks"}, ["dead_letter_topic", "its own dead letters"]),
        ({"metadata": {"key": "k", "topic": "k"}}, ["datasource.metadata", "each column once"]),
        ({"metadata": {"key": "k", "headers": {"h": "k"}}}, ["each column once"]),
        ({"metadata": {"offset": "_offset"}}, ["not beginning with `_`"]),
        ({"metadata": {"headers": {"h": ""}}}, ["datasource.metadata"]),
        ({"metadata": {"keys": "k"}}, ["datasource.metadata.keys"]),
        ({"registry": {"url": "ftp://x"}}, ["datasource.registry.url", "http://"]),
        ({"registry": {"url": f"http://me:{WORD}@x:8081"}}, ["datasource.registry.url", "without a user or password"]),
        ({"registry": {"url": "http://x", "client": {"basic.auth.user.info": f"me:{WORD}"}}}, ["is a secret"]),
        ({"decoder": {"format": "csv"}}, ["datasource.decoder", "columns"]),
        ({"client": {"nested": {"a": 1}}}, ["datasource.client.nested"]),
        ({"client": [1]}, ["datasource.client"]),
    ],
)
def test_what_is_refused_and_why(options: dict[str, Any], words: list[str]) -> None:
    printed = faults(**options)
    for word in words:
        assert word in printed, printed


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z"),
        ({"clicks/1": 7}, {"clicks/1": 7}),
    ],
)
def test_equal_points_to_start_are_equal_text(place: Any, text: Any) -> None:
    assert made(start=place).start == text
    # A time without quotes is no text to YAML.
    [loaded] = yaml.safe_load(yaml.safe_dump([place]).replace("'", ""))
    assert made(start=loaded).start == text


@pytest.mark.parametrize(
    "name",
    [
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "queued.max.messages.kbytes",
        "error_cb",
        "logger",
    ],
)
def test_what_the_datasource_decides_cannot_be_set_behind_its_back(name: str) -> None:
    assert f"`{name}` cannot be set here" in faults(client={name: "x"})


SECRETS = [
    "sasl.password",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "SASL.PASSWORD",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [WORD, [WORD], {"value": WORD}, {"env": "A", "file": WORD}, {"env": [WORD]}])
def test_secrets_are_taken_by_reference_only_and_never_repeated(name: str, value: Any) -> None:
    printed = faults(client={name: value})
    assert name in printed
    assert WORD not in printed


@pytest.mark.parametrize(
    "name",
    ["sasl.username", "ssl.ca.pem", "ssl.certificate.pem", "ssl.ca.location", "sasl.oauthbearer.token.endpoint.url"],
)
def test_what_is_no_secret_may_stand_in_the_job(name: str) -> None:
    assert made(client={name: "x"}).client == {name: "x"}


def test_a_secret_may_stand_under_any_name() -> None:
    assert made(client={"sasl.username": {"env": "WHO"}}).client == {"sasl.username": Secret(env="WHO")}


def test_values_of_secrets_come_from_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", WORD)
    path = tmp_path / "word"
    for content, value in ((WORD, WORD), (WORD + "\n", WORD), (WORD + "\r\n", WORD), (WORD + "\n\n", WORD + "\n")):
        path.write_bytes(content.encode())
        client = {"a.password": Secret(env="WORD"), "b.password": Secret(file=str(path)), "fetch.x": True, "n": 5}
        found = resolved(client, "datasource.client")
        assert found == {"a.password": WORD, "b.password": value, "fetch.x": "true", "n": 5}


def test_every_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\xff" + WORD.encode())
    client = {
        "sasl.password": Secret(env="NOT_THERE"),
        "ssl.key.password": Secret(file=str(tmp_path / "none")),
        "ssl.key.pem": Secret(file=str(damaged)),
        "sasl.username": Secret(file=str(tmp_path)),
    }
    with pytest.raises(ConfigError) as caught:
        resolved(client, "datasource.client")
    assert [place for place, _ in caught.value.faults] == [f"datasource.client.{name}" for name in client]
    text = str(caught.value)
    for word in ("NOT_THERE", str(tmp_path / "none"), "No such file", "not UTF-8", "directory"):
        assert word in text
    assert WORD not in text


def test_a_missing_secret_ends_the_source_before_it_connects() -> None:
    source = KafkaSource(made(client={"sasl.password": {"env": "NOT_THERE"}}))
    with pytest.raises(ConfigError, match=r"datasource\.client\.sasl\.password.*NOT_THERE"):
        source.partitions()
    source.close()


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"fetch.wait.max.mss": 5}, ["fetch.wait.max.mss"]),
        ({"fetch.wait.max.ms": "soon"}, ["fetch.wait.max.ms"]),
        ({"security.protocol": "carrier-pigeon"}, ["security.protocol"]),
    ],
)
def test_options_that_librdkafka_refuses_are_named(client: dict[str, Any], words: list[str]) -> None:
    source = KafkaSource(made(client=client))
    with pytest.raises(ConfigError) as caught:
        source.partitions()
    source.close()
    [(place, message)] = caught.value.faults
    assert place == "datasource.client"
    for word in words:
        assert word in message


def test_a_secret_that_librdkafka_refuses_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", WORD)
    source = KafkaSource(made(client={"security.protocol": {"env": "WORD"}}))
    with pytest.raises(ConfigError) as caught:
        source.partitions()
    source.close()
    assert "security.protocol" in str(caught.value)
    assert WORD not in str(caught.value)


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text), st.text(), st.text())
def test_no_text_of_the_client_s_holds_a_secret(secret: str, before: str, behind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {"WORD": secret})
        error = bad_option(ValueError(f"{before}{secret}{behind}"), {"n": Secret(env="WORD")}, "datasource.client")
    [(_, message)] = error.faults
    assert secret not in message or secret in "(n)" or secret not in f"{before}{secret}{behind}".replace(secret, "")


# -- as people meet them ------------------------------------------------------------------------------


JOB: dict[str, Any] = {
    "name": "clicks",
    "datasource": {
        "name": "kafka",
        **BASE,
        "client": {"sasl.password": {"env": "BROKER_WORD"}, "ssl.key.password": {"file": "word.txt"}},
        "registry": {"url": "http://127.0.0.1:8081", "client": {"basic.auth.user.info": {"env": "BROKER_WORD"}}},
        "decoder": {"format": "avro"},
    },
    "executor": {"name": "torch", "model": "logistic"},
    "features": {"event_time": "t", "numeric": ["x"], "labels": ["y"]},
}


def test_a_dry_run_shows_where_secrets_are_and_not_what_they_are(site: Any, tmp_path: Path) -> None:
    (tmp_path / "word.txt").write_text(WORD)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    done = site.penrose("run", "job.yaml", "--dry-run", BROKER_WORD=WORD)
    assert done.returncode == 0, done.stderr
    assert WORD not in done.stdout + done.stderr
    shown = yaml.safe_load(done.stdout)["datasource"]
    assert shown["client"]["sasl.password"]["env"] == "BROKER_WORD"
    assert shown["client"]["ssl.key.password"]["file"] == "word.txt"
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_refuses_a_secret_in_the_job_without_repeating_it(site: Any, tmp_path: Path) -> None:
    job = JOB | {"datasource": JOB["datasource"] | {"client": {"sasl.password": WORD}}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = site.penrose("run", "job.yaml", "--dry-run", "--traceback")
    assert done.returncode == 2
    assert "datasource.client" in done.stderr
    assert "is a secret" in done.stderr
    assert WORD not in done.stdout + done.stderr


def test_a_run_that_fails_keeps_no_secret_anywhere(site: Any, tmp_path: Path) -> None:
    client = {"sasl.password": {"env": "BROKER_WORD"}, "security.protocol": {"file": "word.txt"}}
    (tmp_path / "word.txt").write_text(WORD + "\n")
    datasource = {"name": "kafka", **BASE, "client": client}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB | {"datasource": datasource}))
    done = site.penrose("run", "job.yaml", "--traceback", BROKER_WORD=WORD)
    assert done.returncode == 2, done.stderr
    assert "datasource.client" in done.stderr
    assert WORD not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert files
    assert all(WORD.encode() not in path.read_bytes() for path in files)


def test_the_plugin_shows_its_options(site: Any) -> None:
    done = site.penrose("plugins", "show", "kafka")
    assert done.returncode == 0, done.stderr
    for name in (*KafkaOptions.model_fields, "avro_schema", "headers"):
        assert name in done.stdout


def test_importing_the_entry_module_imports_neither_librdkafka_nor_pyarrow() -> None:
    script = (
        "import sys, penrose_kafka.source.kafka_source as entry\n"
        "options = entry.KafkaSource.Options(brokers='a:1', topics='t', client={'sasl.password': {'env': 'A'}})\n"
        "source = entry.KafkaSource(options)\n"
        "source.bound('now'), source.source_id, source.stamps(), source.ended(), source.close()\n"
        "names = 'confluent_kafka', 'pyarrow', 'numpy', 'pandas', 'rich', 'torch'\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
