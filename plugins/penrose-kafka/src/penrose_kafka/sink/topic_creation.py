"""A topic for the sink: found, or made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from penrose_host import SinkError
from penrose_kafka.client_errors import Cause, cause_of, publishing_error

__all__ = ["ensure_topic"]

#: As the brokers' own settings say.
_BY_DEFAULT = -1


def ensure_topic(config: Mapping[str, Any], topic: str, partitions: int | None, timeout: float) -> int:
    """Make the topic, with so many partitions, where it is missing; return how many it has.

    Raises `SinkError` where no broker answers in `timeout` seconds, or the topic cannot be made so.
    """
    brokers = str(config["bootstrap.servers"])
    troubles: list[KafkaError] = []
    settings: dict[str, Any] = {**config, "log_level": 0, "error_cb": troubles.append}
    admin = AdminClient(settings)
    deadline = time.monotonic() + timeout
    try:
        # All topics: asked for one that is missing, some brokers make it at once, with as many partitions as they like.
        found = _topics(admin, troubles, brokers, deadline).get(topic)
        if found is not None and not found.error:
            return len(found.partitions)
        if not _created(admin, topic, partitions, timeout) and partitions is not None:
            raise SinkError(
                f"the brokers {brokers} cannot make topics by request, so {topic} cannot get {partitions} partitions",
                plugin="kafka",
                hint=f"make it first (`penrose kafka dev --topic {topic}:{partitions}`), or leave `partitions` out",
            )
        return _seen(admin, topic, brokers, deadline)
    except KafkaException as error:
        raise publishing_error(error.args[0], brokers, topic=topic) from error


def _topics(admin: AdminClient, troubles: list[KafkaError], brokers: str, deadline: float) -> Mapping[str, Any]:
    """All topics. A refused login is an error as soon as it is known: the client itself would go on trying."""
    while True:
        try:
            found: Mapping[str, Any] = admin.list_topics(timeout=min(max(deadline - time.monotonic(), 0.1), 1.0)).topics
            return found
        except KafkaException as error:
            admin.poll(0)
            if refused := [trouble for trouble in troubles if cause_of(trouble) is Cause.LOGIN]:
                raise publishing_error(refused[0], brokers) from error
            if time.monotonic() > deadline:
                raise


def _created(admin: AdminClient, topic: str, partitions: int | None, timeout: float) -> bool:
    """Whether the brokers made the topic, or somebody else just did; False where they know no such request."""
    new = NewTopic(topic, num_partitions=partitions or _BY_DEFAULT, replication_factor=_BY_DEFAULT)
    try:
        admin.create_topics([new], request_timeout=timeout)[topic].result(timeout + 5)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError._UNSUPPORTED_FEATURE:
            return False
        if code != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    return True


def _seen(admin: AdminClient, topic: str, brokers: str, deadline: float) -> int:
    """How many partitions the topic has, once it shows up: at brokers that make topics by no request, by this one."""
    while True:
        found = admin.list_topics(topic, timeout=max(deadline - time.monotonic(), 1.0)).topics[topic]
        if found.partitions and not found.error:
            return len(found.partitions)
        if time.monotonic() > deadline:
            raise publishing_error(found.error or KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), brokers, topic=topic)
        time.sleep(0.02)
