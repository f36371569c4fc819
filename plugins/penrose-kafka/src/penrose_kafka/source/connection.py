"""The datasource's connection: its consumer, made when it is first needed, and how the brokers are."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from penrose_kafka.client_config import bad_option, resolved
from penrose_kafka.client_errors import Cause, Unreachable, cause_of, reading_error
from penrose_kafka.source.topics import Topics

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError

    from penrose_kafka.source.options import KafkaOptions

__all__ = ["Connection"]

log = logging.getLogger("penrose.kafka")
#: A silent client is asked every so many seconds whether a broker answers it, and may take so long.
PROBE_SECONDS = 5.0
PROBE_TIMEOUT = 1.0


class Connection:
    """`consumer` and `topics`, made when they are first asked for. `assigned`: the consumer has partitions.

    `known`: the topics' partitions, as `partitions` last found them.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self.brokers = ",".join(options.brokers)
        self.assigned = False
        self.known: list[str] = []
        self._looked = 0.0
        self._options = options
        self._consumer: Consumer | None = None
        self._topics: Topics | None = None
        self._error: KafkaError | None = None
        self._trouble = ""  # the last that the client reported of its connections
        self._heard = time.monotonic()
        self._silent_since: float | None = None

    @property
    def consumer(self) -> Consumer:
        """What reads."""
        if self._consumer is None:
            self._consumer = self.connect(self._on_error)
        return self._consumer

    def connect(self, on_error: Any = None) -> Consumer:
        """Another consumer like it. Raises ConfigError for options that librdkafka refuses."""
        from confluent_kafka import Consumer, KafkaException

        options = self._options
        client = resolved(options.client, "datasource.client")
        config = {
            "fetch.wait.max.ms": 100,
            # No group is joined: it is for so long that a commit waits for a broker, and reading with it.
            "session.timeout.ms": 6000,
            # Once the prefetch is full: the client's own second would let a fast reader run dry.
            "fetch.queue.backoff.ms": 20,
            # A single answer must not be much more than the prefetch.
            "fetch.max.bytes": min(options.prefetch_bytes, 50 << 20),
            "topic.metadata.refresh.interval.ms": max(min(options.discover // 1000, 300_000), 1000),
            **client,
            "bootstrap.servers": self.brokers,
            # A consumer that assigns itself needs a name all the same; it joins no group.
            "group.id": options.group or "penrose",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": options.prefetch_bytes >> 10,
            "logger": log,
        }
        if on_error is not None:
            config["error_cb"] = on_error
        try:
            return Consumer(config)
        except (KafkaException, TypeError, ValueError) as error:
            raise bad_option(error, options.client, "datasource.client") from None  # it may hold a secret

    @property
    def topics(self) -> Topics:
        """What asks."""
        if self._topics is None:
            names, dead_letters = self._options.topics, self._options.dead_letter_topic
            self._topics = Topics(self.consumer, self.brokers, names, exclude=dead_letters, trouble=self._last_trouble)
        return self._topics

    def partitions(self) -> list[str]:
        """The topics' partitions, `TOPIC/NUMBER`; looked for anew every `discover`."""
        if not self.known:
            self.known = self.topics.partitions()
        elif time.monotonic() - self._looked >= self._options.discover / 1e6:
            # What is known stays known while no broker answers: `check` says for how long that may be.
            with suppress(Unreachable):
                self.known = self.topics.partitions(once=True)
        else:
            return self.known
        self._looked = time.monotonic()
        return self.known

    def close(self) -> None:
        """May be called twice."""
        consumer, self._consumer, self._topics = self._consumer, None, None
        if consumer is not None:
            consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        """Called by the client while it is being asked for messages."""
        from confluent_kafka import KafkaError as Code

        if error.code() != Code._ALL_BROKERS_DOWN:
            self._trouble = error.str()
        if cause_of(error) is Cause.LOGIN or error.fatal():
            self._error = error

    def _last_trouble(self) -> str:
        """What the client last reported of its connections. Raises SourceError where it is for good."""
        if not self.assigned:
            self.consumer.poll(0)  # no message can come: no partition is assigned
        if self._error is not None:
            raise reading_error(self._error, self.brokers)
        return self._trouble

    def check(self, answered: bool) -> None:
        """Raise what the client reported: credentials refused; and where no broker answers for `patience`.

        Nothing but an answer tells a broker that is away from a topic that is silent.
        """
        now = time.monotonic()
        if answered:
            self._heard, self._silent_since, self._error, self._trouble = now, None, None, ""
            return
        if self._error is not None:
            raise reading_error(self._error, self.brokers)
        patience = self._options.patience
        if patience is None or now - self._heard < min(PROBE_SECONDS, patience / 4e6):
            return
        if self.topics.answers(PROBE_TIMEOUT):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        self._heard = time.monotonic()
        if self._silent_since is not None and (silent := self._heard - self._silent_since) >= patience / 1e6:
            why = f": {self._trouble}" if self._trouble else ""
            raise Unreachable(
                f"no broker of {self.brokers} has answered for {silent:.0f} s (`datasource.patience`){why}",
                plugin="kafka",
                hint="start again once they are back: the run goes on where it was",
            )
