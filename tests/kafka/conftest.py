"""The broker that tests share: a mock cluster, or the real Kafka that PENROSE_TEST_KAFKA names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka_broker import Broker
from kafka_collecting import arrow_topic, numbered
from kafka_proxy import Proxy


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """One broker for all tests, none of which may stop it."""
    with Broker() as broker:
        yield broker


@pytest.fixture
def proxy(kafka: Broker) -> Iterator[Proxy]:
    """A proxy before that broker, for one test to break connections with."""
    with Proxy(kafka.address) as between:
        yield between


@pytest.fixture
def topic(kafka: Broker) -> str:
    """Ten messages in partition 0, none in 1, five in 2."""
    name = kafka.create_topic("source", 3)
    kafka.produce(name, numbered(10) + numbered(5, 100, 2))
    return name


@pytest.fixture(scope="module")
def arrow(kafka: Broker) -> str:
    return arrow_topic(kafka)
