"""What errors of librdkafka mean, to whoever reads and to whoever publishes, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any

from penrose_host import SinkError, SourceError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["Cause", "Unreachable", "cause_of", "publishing_error", "reading_error"]


class Unreachable(SourceError):
    """No broker answers now; one may, later."""


class Cause(Enum):
    """What an error of librdkafka is about."""

    LOGIN = auto()  # a login, or a certificate, that the brokers do not accept
    PERMISSION = auto()  # what this user may not do
    UNKNOWN = auto()  # a topic, or a partition, that there is not
    SIZE = auto()  # a message that is too large
    SILENCE = auto()  # nobody answered in time
    OTHER = auto()


@cache
def _causes() -> Mapping[int, Cause]:
    """Code → cause."""
    from confluent_kafka import KafkaError as Code

    codes = {
        Cause.LOGIN: (Code._AUTHENTICATION, Code.SASL_AUTHENTICATION_FAILED, Code._SSL),
        Cause.PERMISSION: (
            Code.TOPIC_AUTHORIZATION_FAILED,
            Code.GROUP_AUTHORIZATION_FAILED,
            Code.CLUSTER_AUTHORIZATION_FAILED,
        ),
        Cause.UNKNOWN: (Code.UNKNOWN_TOPIC_OR_PART, Code._UNKNOWN_TOPIC, Code._UNKNOWN_PARTITION),
        Cause.SIZE: (Code.MSG_SIZE_TOO_LARGE, Code.RECORD_LIST_TOO_LARGE),
        Cause.SILENCE: (
            Code._TRANSPORT,
            Code._ALL_BROKERS_DOWN,
            Code._RESOLVE,
            Code._TIMED_OUT,
            Code._TIMED_OUT_QUEUE,
            Code._MSG_TIMED_OUT,
        ),
    }
    return {code: cause for cause, those in codes.items() for code in those}


def cause_of(error: KafkaError) -> Cause:
    """What the error is about."""
    return _causes().get(error.code(), Cause.OTHER)


def reading_error(
    error: KafkaError, brokers: str, *, partition: str | None = None, offset: int | None = None, trouble: str = ""
) -> SourceError:
    """The error for who reads. `trouble`: the last that the client reported of its connections."""
    text = error.str() + (f" ({trouble})" if trouble else "")
    at: Any = {"plugin": "kafka", "partition": partition, "offset": offset}
    where = f" of {partition}" if partition is not None else ""
    match cause_of(error):
        case Cause.LOGIN:
            what, hint = _login(brokers, text, "datasource.client")
        case Cause.PERMISSION:
            what = f"the brokers {brokers} do not allow this{where}: {text}"
            hint = "grant this user READ on the topics and on the group (`datasource.group`; null commits nowhere)"
        case Cause.UNKNOWN:
            what = f"the brokers {brokers} do not know {partition or 'the topic'}: {text}"
            hint = "check `datasource.topics`; a topic that was deleted cannot be gone on with"
        case Cause.SILENCE:
            return Unreachable(
                f"no broker of {brokers} answers: {text}",
                hint="check `datasource.brokers` and that they can be reached from here; then start again: the run "
                "goes on",
                **at,
            )
        case _:
            what, hint = f"reading{where} failed: {text} ({error.name()})", "start again: the run goes on"
    return SourceError(what, hint=hint, **at)


def publishing_error(
    error: KafkaError, brokers: str, *, topic: str | None = None, partition: int | None = None, trouble: str = ""
) -> SinkError:
    """The error for who publishes. `trouble`: the last that the client reported of its connections."""
    text = error.str() + (f" ({trouble})" if trouble else "")
    target = topic if topic is None or partition is None or partition < 0 else f"{topic}/{partition}"
    where = f"{target} at {brokers}" if target else brokers
    match cause_of(error):
        case Cause.LOGIN:
            what, hint = _login(brokers, text, "client")
        case Cause.PERMISSION:
            what = f"publishing to {where} is forbidden: {text}"
            hint = "grant this user WRITE (and CREATE) on the topic"
        case Cause.UNKNOWN:
            what = f"there is no {where}: {text}"
            hint = "make the topic, or give it the partitions that are written to, and publish again"
        case Cause.SIZE:
            what = f"a message is too large for {where}: {text}"
            hint = (
                "raise `message.max.bytes` in `client`, and the topic's `max.message.bytes`; or put fewer rows in one"
            )
        case Cause.SILENCE:
            what = f"a message for {where} was not acknowledged in time: {text}"
            hint = "check that the brokers can be reached and have enough replicas in sync; then publish again"
        case _:
            what, hint = f"a message for {where} was not delivered: {text} ({error.name()})", "publish again"
    return SinkError(what, plugin="kafka", partition=target, hint=hint)


def _login(brokers: str, text: str, client: str) -> tuple[str, str]:
    return (
        f"the brokers {brokers} refused the connection: {text}",
        f"check `{client}`: security.protocol, sasl.mechanism, sasl.username, sasl.password, ssl.ca.location",
    )
