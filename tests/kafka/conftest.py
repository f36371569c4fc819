"""The broker that tests share: a mock cluster, or the real Kafka that PENROSE_TEST_KAFKA names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka_broker import Broker
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
