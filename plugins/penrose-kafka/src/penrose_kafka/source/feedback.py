"""What the datasource sends back to the brokers: committed offsets, and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penrose_kafka.client_config import resolved

if TYPE_CHECKING:
    from penrose_host import Reject
    from penrose_kafka.source.committing import Committer
    from penrose_kafka.source.connection import Connection
    from penrose_kafka.source.dead_letter_topic import DeadLetterTopic
    from penrose_kafka.source.options import KafkaOptions

__all__ = ["Feedback"]


class Feedback:
    """Commits under `group` and publishes to `dead_letter_topic`, each where the options name one."""

    def __init__(self, connection: Connection, options: KafkaOptions) -> None:
        self._connection = connection
        self._options = options
        self._committer: Committer | None = None
        self._dead_letters: DeadLetterTopic | None = None

    def commit(self, offsets: Mapping[str, int], rows_per_message: int) -> None:
        """Commit the messages of these rows, which are durable. Raises SourceError where the brokers do not allow it.

        While no broker answers they are kept, and go out with the next ones.
        """
        if self._options.group is None:
            return
        if self._committer is None:
            from penrose_kafka.source.committing import Committer

            self._committer = Committer(self._connection.consumer, self._connection.brokers)
        self._committer.commit({name: offset // rows_per_message for name, offset in offsets.items()})

    def dead_letters(self, rejects: Sequence[Reject], rows_per_message: int) -> None:
        """Publish bad messages; on return the brokers have them. Raises SinkError."""
        topic = self._options.dead_letter_topic
        assert topic is not None  # else the source does not declare DEAD_LETTERS
        if self._dead_letters is None:
            from penrose_kafka.source.dead_letter_topic import DeadLetterTopic

            client = resolved(self._options.client, "datasource.client")
            self._dead_letters = DeadLetterTopic(topic, {"bootstrap.servers": self._connection.brokers, **client})
        self._dead_letters.send(rejects, rows_per_message)

    def close(self) -> None:
        """Commit what could not be committed before, if a broker answers now. May be called twice."""
        committer, self._committer = self._committer, None
        dead_letters, self._dead_letters = self._dead_letters, None
        if committer is not None:
            committer.close()
        if dead_letters is not None:
            dead_letters.close()
