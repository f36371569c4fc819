"""librdkafka's configuration from options: secrets are looked up, and stand in no error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penrose_host import ConfigError
from penrose_kafka.client_options import Secret

__all__ = ["bad_option", "resolved"]


def resolved(client: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Client options with the values of secrets. Raises ConfigError, naming each that is not there.

    `section`: where in the job the options are, as in `datasource.client`.
    """
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for name, value in client.items():
        if not isinstance(value, Secret):
            values[name] = str(value).lower() if isinstance(value, bool) else value
            continue
        try:
            values[name] = _secret(value)
        except (OSError, KeyError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            if value.env is not None:
                fault = f"the environment variable {value.env} is not set"
            else:
                fault = f"the file {value.file} cannot be read: {what}"
            faults.append((f"{section}.{name}", fault))
    if faults:
        raise ConfigError(faults)
    return values


def _secret(value: Secret) -> str:
    if value.env is not None:
        return os.environ[value.env]
    assert value.file is not None
    return Path(value.file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


def bad_option(error: Exception, client: Mapping[str, Any], section: str) -> ConfigError:
    """The error for options that librdkafka refuses; secrets do not stand in it."""
    detail = error.args[0] if error.args else error
    text = str(detail.str()) if hasattr(detail, "str") else str(detail)
    return ConfigError([(section, _scrubbed(text, client))])


def _scrubbed(text: str, client: Mapping[str, Any]) -> str:
    for name, value in client.items():
        if isinstance(value, Secret):
            try:
                secret = _secret(value)
            except (OSError, KeyError, UnicodeDecodeError):
                continue
            if secret:
                text = text.replace(secret, f"({name})")
    return text
