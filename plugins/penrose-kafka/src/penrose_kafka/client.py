"""What the datasource and the sink share of librdkafka: its configuration, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host import ConfigError, SourceError
from penrose_kafka.options import Secret

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["Unreachable", "bad_option", "explain", "resolved"]


class Unreachable(SourceError):
    """No broker answers now; one may, later."""


def resolved(client: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Client options with the values of secrets. Raises ConfigError, naming each that is not there."""
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for name, value in client.items():
        if not isinstance(value, Secret):
            values[name] = str(value).lower() if isinstance(value, bool) else value
            continue
        try:
            values[name] = _secret(value)
        except (OSError, KeyError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            if value.env is not None:
                fault = f"the environment variable {value.env} is not set"
            else:
                fault = f"the file {value.file} cannot be read: {what}"
            faults.append((f"{place}.{name}", fault))
    if faults:
        raise ConfigError(faults)
    return values


def _secret(value: Secret) -> str:
    if value.env is not None:
        return os.environ[value.env]
    assert value.file is not None
    return Path(value.file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


def bad_option(error: Exception, client: Mapping[str, Any], place: str) -> ConfigError:
    """The error for options that librdkafka refuses; secrets do not stand in it."""
    detail = error.args[0] if error.args else error
    text = str(detail.str()) if hasattr(detail, "str") else str(detail)
    return ConfigError([(place, _scrubbed(text, client))])


def _scrubbed(text: str, client: Mapping[str, Any]) -> str:
    for name, value in client.items():
        if isinstance(value, Secret):
            try:
                secret = _secret(value)
            except (OSError, KeyError, UnicodeDecodeError):
                continue
            if secret:
                text = text.replace(secret, f"({name})")
    return text


def explain(
    error: KafkaError, brokers: str, *, partition: str | None = None, offset: int | None = None, why: str = ""
) -> SourceError:
    """What a client's error means to the one who runs the job, and what to do about it.

    `why`: what the client last told of its connections.
    """
    from confluent_kafka import KafkaError as Code

    from penrose_kafka.codes import FORBIDDEN, REFUSED, UNKNOWN

    code, text = error.code(), error.str() + (f" ({why})" if why else "")
    at: Any = {"plugin": "kafka", "partition": partition, "offset": offset}
    where = f" of {partition}" if partition is not None else ""
    if code in REFUSED:
        return SourceError(
            f"the brokers {brokers} refused the connection: {text}",
            hint="check `datasource.client`: security.protocol, sasl.mechanism, sasl.username, sasl.password, "
            "ssl.ca.location",
            **at,
        )
    if code in FORBIDDEN:
        return SourceError(
            f"the brokers {brokers} do not allow this{where}: {text}",
            hint="grant this user READ on the topics and on the group (`datasource.group`; null commits nowhere)",
            **at,
        )
    if code in UNKNOWN:
        return SourceError(
            f"the brokers {brokers} do not know {partition or 'the topic'}: {text}",
            hint="check `datasource.topics`; a topic that was deleted cannot be gone on with",
            **at,
        )
    if code in (Code._TRANSPORT, Code._ALL_BROKERS_DOWN, Code._RESOLVE, Code._TIMED_OUT, Code._TIMED_OUT_QUEUE):
        return Unreachable(
            f"no broker of {brokers} answers: {text}",
            hint="check `datasource.brokers` and that they can be reached from here; then start again: the run goes on",
            **at,
        )
    return SourceError(f"reading{where} failed: {text} ({error.name()})", hint="start again: the run goes on", **at)
