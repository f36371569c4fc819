"""Schemas from a Confluent-style schema registry, by id."""

from __future__ import annotations

from typing import Any

from penrose_host import ConfigError, SourceError
from penrose_kafka.client_config import resolved
from penrose_kafka.source.options import RegistryOptions

__all__ = ["Registry"]

#: So long one request may take; its client would wait for ever. Requests that fail are repeated a few times.
TIMEOUT_SECONDS = 10.0


class Registry:
    """Schema id → its text. Each is asked for once; a schema never changes."""

    def __init__(self, options: RegistryOptions) -> None:
        """Raises ConfigError where the registry's client is not installed, or refuses its options."""
        self._url = options.url
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise ConfigError(
                [("datasource.registry", f"the registry's client cannot be imported: {error}")],
                hint='type: pip install "penrose-kafka[avro]"',
            ) from error
        try:
            self._client: Any = SchemaRegistryClient(
                {
                    "url": options.url,
                    "timeout": TIMEOUT_SECONDS,
                    **resolved(options.client, "datasource.registry.client"),
                }
            )
        except ValueError as error:
            raise ConfigError([("datasource.registry.client", str(error))]) from error
        self._schemas: dict[int, str] = {}

    def __call__(self, id: int) -> str:
        """Raises KeyError where the registry has no such schema, SourceError where it does not answer."""
        if id not in self._schemas:
            self._schemas[id] = self._ask(id)
        return self._schemas[id]

    def _ask(self, id: int) -> str:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            schema = self._client.get_schema(id)
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise KeyError(id) from error
            raise self._failed(id, f"HTTP {error.http_status_code}: {error.error_message}") from error
        except Exception as error:  # the HTTP library's own: refused, reset, timed out, wrong certificate
            raise self._failed(id, f"{type(error).__name__}: {error}") from error
        if schema.schema_type not in (None, "AVRO"):
            raise SourceError(
                f"schema {id} of {self._url} is of the type {schema.schema_type}, not AVRO",
                plugin="kafka",
                hint="set `datasource.decoder.format` to what the topic holds",
            )
        return str(schema.schema_str)

    def _failed(self, id: int, why: str) -> SourceError:
        return SourceError(
            f"the schema registry {self._url} did not give schema {id}: {why}",
            plugin="kafka",
            hint="check `datasource.registry`; once it answers start again: the run goes on where it was",
        )
