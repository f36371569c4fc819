"""Options of the datasource `kafka`. Nothing here imports librdkafka."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from penrose_host.decoding import DecoderOptions
from penrose_host.options import Duration, Section, format_instant, parse_instant
from penrose_kafka.client_options import ClientOptions, Servers, decided_elsewhere, split_names
from penrose_kafka.topic_names import is_topic_name

__all__ = ["KafkaOptions", "Metadata", "RegistryOptions", "StreamPoint"]

#: What the datasource has to decide itself, and what to set instead.
_OWN = {
    "bootstrap.servers": "set `brokers`",
    "metadata.broker.list": "set `brokers`",
    "group.id": "set `group`",
    "auto.commit.enable": "positions are committed behind checkpoints",
    "enable.auto.commit": "positions are committed behind checkpoints",
    "enable.auto.offset.store": "positions belong to the checkpoint",
    "auto.offset.reset": "set `start`, and `expired` for offsets that are gone",
    "enable.partition.eof": "the datasource needs to decide it",
    "queued.max.messages.kbytes": "set `prefetch_bytes`",
}


def _point(value: str | dict[str, int] | None) -> str | dict[str, int] | None:
    """`earliest`, `latest`, `now`, or a time: text in UTC, so that equal points are equal text."""
    if isinstance(value, str) and value not in ("earliest", "latest", "now"):
        return format_instant(parse_instant(value))
    return value


def _time_as_text(value: object) -> object:
    return value.isoformat() if hasattr(value, "isoformat") else value


Offsets = dict[str, Annotated[int, Field(ge=0)]]
#: Where in the stream a run starts or ends.
StreamPoint = Annotated[str | Offsets, BeforeValidator(_time_as_text), AfterValidator(_point)]


class Metadata(Section):
    """Columns made of what Kafka keeps beside a message's value: name the column, or leave it out."""

    key: str | None = Field(default=None, description="the key, as text")
    timestamp: str | None = Field(default=None, description="the message's timestamp (milliseconds, UTC)")
    topic: str | None = Field(default=None, description="the topic's name")
    partition: str | None = Field(default=None, description="the number of the partition in its topic")
    offset: str | None = Field(default=None, description="the message's offset")
    headers: dict[str, str] = Field(default={}, description="header → column, as text; of a repeated header the last")

    @model_validator(mode="after")
    def _distinct(self) -> Metadata:
        names = self.columns()
        if len(set(names)) != len(names) or any(not name or name.startswith("_") for name in names):
            raise ValueError("name each column once, not beginning with `_`")
        return self

    def columns(self) -> list[str]:
        """The names of all these columns."""
        plain = (self.key, self.timestamp, self.topic, self.partition, self.offset)
        return [name for name in plain if name is not None] + list(self.headers.values())


class RegistryOptions(Section):
    """Where schemas are, by id."""

    url: str = Field(description="address of a Confluent-style schema registry")
    client: ClientOptions = Field(
        default={}, description="options of its client (`ssl.ca.location`, `basic.auth.user.info: {env: NAME}`, …)"
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s@]+", value):
            raise ValueError("should be http://HOST:PORT or https://…, without a user or password in it")
        return value.rstrip("/")


class KafkaOptions(Section):
    """Messages of Kafka topics as rows. The host assigns partitions, `TOPIC/NUMBER`; there is no consumer group."""

    brokers: Servers = Field(description="addresses to begin with, as in `host:9092` or a list of them")
    topics: Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(split_names)] = Field(
        min_length=1, description="names of topics; one that begins with `^` is a regular expression"
    )
    decoder: DecoderOptions = Field(default=DecoderOptions(), description="what the messages' values are")
    metadata: Metadata = Field(default=Metadata(), description="further columns: key, timestamp, headers, …")
    start: StreamPoint = Field(
        default="earliest",
        description="where a new run starts: `earliest`, `latest`, a time (ISO 8601), or partition → offset "
        "(others from their earliest). A partition that appears later is read from its beginning",
    )
    end: StreamPoint | None = Field(
        default=None,
        description="where the stream ends: `now` (what is there as the run starts), a time, or partition → the offset "
        "to stop before; by default never",
    )
    group: str | None = Field(
        default="penrose",
        description="name under which the broker is told which positions are durable, for others to see; null: nowhere",
    )
    expired: Literal["fail", "skip"] = Field(
        default="fail",
        description="offsets that the topic does not hold any more: an error, or go on with what is left",
    )
    dead_letter_topic: str | None = Field(
        default=None, description="with `bad_rows: dead-letter`: topic that bad messages go to, at least once each"
    )
    registry: RegistryOptions | None = Field(default=None, description="schema registry, for `avro`")
    discover: Duration = Field(
        default=10_000_000, ge=100_000, description="how often to look for new partitions, and topics that match"
    )
    patience: Duration | None = Field(
        default=300_000_000, description="how long no broker may answer before the run ends; null: for ever"
    )
    prefetch_bytes: int = Field(
        default=32 << 20, ge=1 << 20, description="so many bytes of messages are fetched ahead, over all partitions"
    )
    client: Annotated[ClientOptions, decided_elsewhere(_OWN)] = Field(
        default={}, description="any option of librdkafka; secrets as {env: NAME} or {file: PATH}"
    )

    @field_validator("topics")
    @classmethod
    def _good_topics(cls, value: list[str]) -> list[str]:
        for topic in value:
            if topic.startswith("^"):
                try:
                    re.compile(topic)
                except re.error as error:
                    raise ValueError(f"{topic!r} is no regular expression: {error}") from None
            elif not is_topic_name(topic):
                raise ValueError(f"{topic!r} is no topic's name; a regular expression begins with `^`")
        if len(set(value)) != len(value):
            raise ValueError("name each topic once")
        return value

    @model_validator(mode="after")
    def _elsewhere(self) -> KafkaOptions:
        if self.dead_letter_topic in self.topics:
            raise ValueError("`dead_letter_topic` is one of `topics`: the run would read its own dead letters")
        return self

    @field_validator("start")
    @classmethod
    def _a_start(cls, value: str | dict[str, int]) -> str | dict[str, int]:
        if value == "now":
            raise ValueError("`now` is called `latest` here")
        return value

    @field_validator("end")
    @classmethod
    def _an_end(cls, value: str | dict[str, int] | None) -> str | dict[str, int] | None:
        if value in ("earliest", "latest"):
            raise ValueError("is `now`, a time, or partition → offset")
        return value
