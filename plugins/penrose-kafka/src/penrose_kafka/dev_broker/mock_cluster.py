"""librdkafka's own mock cluster, by its C interface: what the Python client does not show of it.

The library is the one that `confluent_kafka` is linked with; nothing else needs to be installed.
"""

from __future__ import annotations

import ctypes
from types import MappingProxyType
from typing import Any

from confluent_kafka import cimpl

from penrose_kafka.dev_broker.errors import broker_error

__all__ = ["MockCluster"]

_PRODUCER = 0
_POINTER, _TEXT, _INT32, _INT64, _SIZE = (
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int32,
    ctypes.c_int64,
    ctypes.c_size_t,
)
#: Function → (type of its result, types of its arguments).
_FUNCTIONS: MappingProxyType[str, tuple[Any, list[Any]]] = MappingProxyType(
    {
        "rd_kafka_conf_new": (_POINTER, []),
        "rd_kafka_conf_set": (_INT32, [_POINTER, _TEXT, _TEXT, _TEXT, _SIZE]),
        "rd_kafka_new": (_POINTER, [_INT32, _POINTER, _TEXT, _SIZE]),
        "rd_kafka_err2str": (_TEXT, [_INT32]),
        "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT32]),
        "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
        "rd_kafka_mock_set_controller_id": (None, [_POINTER, _INT32]),
        "rd_kafka_mock_topic_create": (_INT32, [_POINTER, _TEXT, _INT32, _INT32]),
        "rd_kafka_mock_topic_set_error": (None, [_POINTER, _TEXT, _INT32]),
        "rd_kafka_mock_partition_delete_records": (_INT32, [_POINTER, _TEXT, _INT32, _INT64]),
        "rd_kafka_mock_broker_set_down": (_INT32, [_POINTER, _INT32]),
        "rd_kafka_mock_broker_set_up": (_INT32, [_POINTER, _INT32]),
    }
)


class MockCluster:
    """One broker on a port of loopback that it chooses itself; it lives as long as this process."""

    BROKER = 1

    def __init__(self) -> None:
        """Start it. Raises `PluginError` where the linked librdkafka does not show its mock cluster."""
        library = ctypes.CDLL(cimpl.__file__)
        try:
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except AttributeError as error:
            raise broker_error(
                f"the librdkafka of the installed confluent-kafka has no usable mock cluster: {error}",
                'pip install --upgrade confluent-kafka, or use --server tansu (pip install "penrose-kafka[dev]")',
            ) from error
        self._library = library
        reason = ctypes.create_string_buffer(512)
        settings = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(settings, b"log_level", b"0", reason, len(reason))  # it complains of having no broker
        client = library.rd_kafka_new(_PRODUCER, settings, reason, len(reason))
        self._cluster = library.rd_kafka_mock_cluster_new(client, 1) if client else None
        if not self._cluster:
            raise broker_error(f"librdkafka cannot start its mock cluster: {reason.value.decode()}")
        # Without a controller, a client waits for one instead of saying that topics cannot be made by request.
        library.rd_kafka_mock_set_controller_id(self._cluster, self.BROKER)

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        text: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return text.decode()

    def create_topic(self, topic: str, partitions: int) -> None:
        """A topic that is not there yet. Topics that clients ask for without this get four partitions."""
        self._check(self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1), topic)

    def refuse_topic(self, topic: str, code: int) -> None:
        """From now on, clients that ask for this topic get Kafka's error of this number; 0: they are let in again."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Let offsets below `before` expire; whole batches of messages go."""
        function = self._library.rd_kafka_mock_partition_delete_records
        self._check(function(self._cluster, topic.encode(), partition, before), f"{topic}/{partition}")

    def down(self) -> None:
        """Cut all connections and refuse new ones; the data stays."""
        self._check(self._library.rd_kafka_mock_broker_set_down(self._cluster, self.BROKER), "down")

    def up(self) -> None:
        """Take connections again."""
        self._check(self._library.rd_kafka_mock_broker_set_up(self._cluster, self.BROKER), "up")

    def _check(self, code: int, subject: str) -> None:
        if code:
            text: bytes = self._library.rd_kafka_err2str(code)
            raise broker_error(f"the mock cluster refuses {subject!r}: {text.decode()}")
