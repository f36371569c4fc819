"""Errors of librdkafka that mean the same to whoever reads and to whoever publishes."""

from __future__ import annotations

from confluent_kafka import KafkaError

__all__ = ["FORBIDDEN", "REFUSED", "UNKNOWN"]

#: A login, or a certificate, that the brokers do not accept.
REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})
#: What this user may not do.
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
#: A topic, or a partition, that there is not.
UNKNOWN = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
