"""Committing durable positions to the brokers. Nothing depends on it: positions belong to the checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penrose_host import SourceError
from penrose_kafka.client_errors import Cause, cause_of, reading_error
from penrose_kafka.topic_names import topic_partition

if TYPE_CHECKING:
    from confluent_kafka import Consumer

__all__ = ["Committer"]

log = logging.getLogger("penrose.kafka")


class Committer:
    """Commits the latest position; while no broker answers it is kept, and goes out with the next."""

    def __init__(self, consumer: Consumer, brokers: str) -> None:
        self._consumer = consumer
        self._brokers = brokers
        self._pending: dict[str, int] = {}

    def commit(self, offsets: Mapping[str, int]) -> None:
        """Commit these offsets of messages. Raises SourceError where the brokers do not allow it."""
        self._pending |= offsets
        self._try()

    def close(self) -> None:
        """Try once more, where something is left."""
        if self._pending:
            self._try()
        if self._pending:
            log.warning("the brokers' committed offsets stay behind the checkpoint: no broker answered")

    def _try(self) -> None:
        from confluent_kafka import KafkaError, KafkaException

        if not self._pending:
            return
        try:
            answers = self._consumer.commit(
                offsets=[topic_partition(name, offset) for name, offset in self._pending.items()], asynchronous=False
            )
            errors = [answer.error for answer in answers if answer.error is not None]
        except KafkaException as error:
            errors = [error.args[0]]
        if not errors:
            self._pending = {}
            return
        [first, *_] = errors
        if first.code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION):
            raise SourceError(
                f"the group whose offsets should follow the checkpoint has members: {first.str()}",
                plugin="kafka",
                hint="give the run a group of its own with `datasource.group`, or null to commit nowhere",
            )
        if cause_of(first) is Cause.PERMISSION:
            raise reading_error(first, self._brokers)
