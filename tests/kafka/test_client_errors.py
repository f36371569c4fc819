"""What an error of the client means, to whoever reads and to whoever publishes."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from penrose_kafka.client_errors import Unreachable, publishing_error, reading_error


@pytest.mark.parametrize(
    ("code", "reading", "publishing"),
    [
        (KafkaError._AUTHENTICATION, "refused the connection", "refused the connection"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "do not allow this of t/3", "publishing to t/3 at a:1 is forbidden"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "do not know t/3", "there is no t/3 at a:1"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "reading of t/3 failed", "too large for t/3 at a:1"),
        (KafkaError._TIMED_OUT, "no broker of a:1 answers", "a message for t/3 at a:1 was not acknowledged in time"),
        (KafkaError.INVALID_MSG, "reading of t/3 failed", "a message for t/3 at a:1 was not delivered"),
    ],
)
def test_both_sides_are_told_the_same_cause_in_their_own_words(code: int, reading: str, publishing: str) -> None:
    error = KafkaError(code)
    read = reading_error(error, "a:1", partition="t/3", offset=7, trouble="reset by peer")
    assert reading in read.message
    assert "(reset by peer)" in read.message
    assert (read.plugin, read.partition, read.offset) == ("kafka", "t/3", 7)
    assert isinstance(read, Unreachable) == (code == KafkaError._TIMED_OUT)
    published = publishing_error(error, "a:1", topic="t", partition=3, trouble="reset by peer")
    assert publishing in published.message
    assert "(reset by peer)" in published.message
    assert (published.plugin, published.partition) == ("kafka", "t/3")
    assert read.hint
    assert published.hint
