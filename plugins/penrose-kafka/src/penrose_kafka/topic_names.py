"""Names of topics, and the host's names of their partitions: `TOPIC/NUMBER`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

__all__ = ["is_topic_name", "partition_name", "topic_partition"]

#: librdkafka's word for no offset at all.
_NO_OFFSET = -1001


def is_topic_name(text: str) -> bool:
    """Whether Kafka takes it as the name of a topic: letters, digits, `.`, `_` and `-`, at most 249."""
    return text not in (".", "..") and re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) is not None


def partition_name(topic: str, number: int) -> str:
    """The host's name of a partition."""
    return f"{topic}/{number}"


def topic_partition(name: str, offset: int = _NO_OFFSET) -> TopicPartition:
    """The partition of this name, at an offset, as librdkafka takes it. Raises ValueError where the name is none's."""
    from confluent_kafka import TopicPartition

    topic, slash, number = name.rpartition("/")
    if not slash or not topic or not number.isdecimal():
        raise ValueError(name)
    return TopicPartition(topic, int(number), offset)
