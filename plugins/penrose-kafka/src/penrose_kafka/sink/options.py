"""Options of the sink `kafka`. Nothing here imports librdkafka."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from penrose_host.options import Duration, Section
from penrose_kafka.client_options import ClientOptions, Servers, decided_elsewhere
from penrose_kafka.topic_names import is_topic_name

__all__ = ["KafkaSinkOptions"]

#: Librdkafka counts milliseconds in 32 bits; 24 days in microseconds.
_LONGEST = 24 * 86_400_000_000
#: What the sink has to decide itself, and what to set instead.
_OWN = {
    "bootstrap.servers": "set `brokers`",
    "metadata.broker.list": "set `brokers`",
    "message.timeout.ms": "set `patience`",
    "delivery.timeout.ms": "set `patience`",
    "delivery.report.only.error": "the sink needs to decide it",
    "transactional.id": "the sink does not use transactions",
}


class KafkaSinkOptions(Section):
    """Rows as messages of a topic."""

    brokers: Servers = Field(description="addresses to begin with, as in `host:9092` or a list of them")
    topic: str = Field(description="the topic; made where it is missing and the brokers allow it")
    partitions: int | None = Field(
        default=None, ge=1, description="how many partitions the topic gets if it is made; null: as the brokers say"
    )
    format: Literal["json", "arrow"] = Field(
        default="json", description="json: an object a row; arrow: IPC streams, of `rows_per_message` rows"
    )
    rows_per_message: int = Field(default=1, ge=1, description="arrow: rows that share a message (at most)")
    key: str | None = Field(
        default=None, description="column whose values are the keys; equal keys go to the same partition"
    )
    spread: Literal["key", "source", "round-robin"] | None = Field(
        default=None,
        description="which partition a row goes to. key: the key's hash (the default with `key`); source: rows of one "
        "source partition stay together (the default without); round-robin: each message to the next one",
    )
    timestamp: str | None = Field(
        default=None, description="timestamp column that the messages' own timestamps come from; null: now"
    )
    patience: Duration = Field(
        default=300_000_000,
        ge=1_000_000,
        le=_LONGEST,
        description="how long a message may go unacknowledged before it is an error",
    )
    client: Annotated[ClientOptions, decided_elsewhere(_OWN)] = Field(
        default={}, description="any option of librdkafka; secrets as {env: NAME} or {file: PATH}"
    )

    @field_validator("topic")
    @classmethod
    def _good_topic(cls, value: str) -> str:
        if not is_topic_name(value):
            raise ValueError(f"{value!r} is no topic's name: letters, digits, `.`, `_` and `-`, at most 249")
        return value

    @model_validator(mode="after")
    def _fit(self) -> KafkaSinkOptions:
        if self.spread == "key" and self.key is None:
            raise ValueError("`spread: key` needs a `key`")
        if self.format == "json" and self.rows_per_message > 1:
            raise ValueError("a JSON message is one row: leave `rows_per_message` out, or set `format: arrow`")
        if self.rows_per_message > 1 and self.key is not None:
            raise ValueError("a message has one key: leave `key` out, or set `rows_per_message: 1`")
        return self
