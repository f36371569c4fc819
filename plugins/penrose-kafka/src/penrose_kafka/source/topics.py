"""Topics and partitions as the brokers know them: which there are; where offsets begin, end, and lie in time."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penrose_host import SourceError
from penrose_host.options import parse_instant
from penrose_kafka.client_errors import Cause, Unreachable, cause_of, reading_error
from penrose_kafka.topic_names import partition_name, topic_partition

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError

__all__ = ["Topics"]

#: So long a single question may take, in seconds; and questions that no broker answered are asked again for.
ASK_SECONDS = 10.0
RETRY_SECONDS = 30.0
#: So long the first question may take: where the login is refused, nobody should wait for longer to hear of it.
FIRST_SECONDS = 1.0
NAP_SECONDS = 0.1


class Topics:
    """Asks the brokers. Every question that no broker answers for half a minute is a `SourceError`."""

    def __init__(
        self,
        consumer: Consumer,
        brokers: str,
        topics: Sequence[str],
        *,
        exclude: str | None = None,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """`exclude`: a topic that no expression means.

        `trouble`: the last that the client reported of its connections; raises where asking again cannot help.
        """
        self._exclude = exclude
        self._trouble = trouble
        self._consumer = consumer
        self._brokers = brokers
        self._names = [topic for topic in topics if not topic.startswith("^")]
        self._patterns = [re.compile(topic) for topic in topics if topic.startswith("^")]
        self.cluster_id = ""

    def partitions(self, *, once: bool = False) -> list[str]:
        """All partitions now, by topic and number. Raises SourceError for a topic that is not there.

        `once`: ask briefly, and only once; raises Unreachable where nobody answers.
        """
        from confluent_kafka import KafkaException

        found: dict[str, int] = {}

        def wanted(metadata: Any) -> dict[str, Any]:
            return {name: topic for name, topic in metadata.topics.items() if self._wanted(name)}

        # One topic is asked for alone: a cluster may have thousands.
        for asked in [None] if self._patterns or len(self._names) > 1 else self._names:

            def question(timeout: float, asked: str | None = asked) -> Any:
                metadata = self._consumer.list_topics(asked, timeout=timeout)
                for topic in wanted(metadata).values():
                    if topic.error is not None and _passing(topic.error):
                        raise KafkaException(topic.error)
                return metadata

            metadata = self._ask(question, once=once)
            self.cluster_id = metadata.cluster_id or ""
            for name, topic in wanted(metadata).items():
                error = topic.error
                if error is None:
                    found[name] = len(topic.partitions)
                elif cause_of(error) is not Cause.UNKNOWN:
                    raise reading_error(error, self._brokers, partition=name)
            missing = [name for name in self._names if name not in found]
            if missing:
                raise self._missing(missing[0])
        if not found:
            raise SourceError(
                f"no topic of {self._brokers} matches {', '.join(pattern.pattern for pattern in self._patterns)}",
                plugin="kafka",
                hint="correct `datasource.topics`; an expression matches anywhere in a name, unless it has ^ and $",
            )
        return [partition_name(topic, number) for topic in sorted(found) for number in range(found[topic])]

    def _wanted(self, name: str) -> bool:
        if name in self._names:
            return True
        # Kafka's own topics, and where the run itself writes: no expression means them, unless it says so.
        return name != self._exclude and any(
            pattern.search(name) and (not name.startswith("__") or pattern.pattern.startswith("^__"))
            for pattern in self._patterns
        )

    def offsets_held(self, name: str) -> tuple[int, int]:
        """The first offset that a partition holds, and the next that it will give out."""
        at = topic_partition(name)
        low, high = self._ask(lambda timeout: self._consumer.get_watermark_offsets(at, timeout=timeout), name)
        return low, high

    def answers(self, timeout: float) -> bool:
        """Whether a broker answers now."""
        try:
            self._ask(lambda _: self._consumer.list_topics(next(iter(self._names), None), timeout=timeout), once=True)
        except Unreachable:
            return False
        return True

    def offsets_at(self, names: Iterable[str], when: str) -> Mapping[str, int]:
        """Partition → the first offset whose timestamp is at or after a time; its end where there is none."""
        # Negative times mean other things to a broker.
        millis = max(-(-parse_instant(when) // 1000), 0)
        asked = [topic_partition(name, millis) for name in names]
        answers = self._ask(lambda timeout: self._consumer.offsets_for_times(asked, timeout=timeout)) if asked else []
        found: dict[str, int] = {}
        for answer in answers:
            name = partition_name(answer.topic, answer.partition)
            if answer.error is not None:
                raise reading_error(answer.error, self._brokers, partition=name)
            found[name] = answer.offset if answer.offset >= 0 else self.offsets_held(name)[1]
        return found

    def _ask(self, question: Callable[[float], Any], partition: str | None = None, *, once: bool = False) -> Any:
        """The answer; a broker that is away, or still choosing a leader, is asked again, each time for longer."""
        from confluent_kafka import KafkaException

        until = time.monotonic() + (0.0 if once else RETRY_SECONDS)
        timeout = FIRST_SECONDS
        while True:
            try:
                return question(timeout)
            except KafkaException as error:
                trouble = self._trouble()
                if time.monotonic() >= until or not _passing(error.args[0]):
                    raise reading_error(error.args[0], self._brokers, partition=partition, trouble=trouble) from error
            time.sleep(NAP_SECONDS)  # some errors come at once
            timeout = min(2 * timeout, ASK_SECONDS)

    def _missing(self, name: str) -> SourceError:
        metadata = self._ask(lambda timeout: self._consumer.list_topics(timeout=timeout))
        others = sorted(topic for topic in metadata.topics if not topic.startswith("__"))
        near = difflib.get_close_matches(name, others, n=3, cutoff=0.6) or others[:10]
        there = f"there are: {', '.join(near)}" if near else "there are none"
        return SourceError(
            f"the brokers {self._brokers} have no topic {name!r}",
            plugin="kafka",
            hint=f"correct `datasource.topics` ({there}), or create it",
        )


def _passing(detail: KafkaError) -> bool:
    """Whether asking again may help."""
    from confluent_kafka import KafkaError

    waits = (
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    )
    return detail.retriable() or detail.code() in waits
