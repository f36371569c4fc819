"""Options that the datasource and the sink share: brokers, secrets, librdkafka's own. Nothing here imports it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from penrose_host.options import Section

__all__ = ["ClientOptions", "Secret", "Servers", "decided_elsewhere", "split_names"]

#: What librdkafka, or the schema registry's client, must never be given in a job file.
_SECRET = re.compile(
    r"password|passphrase|secret|key\.pem|user\.info|token(?!\.endpoint)|oauthbearer\.config|sasl\.jaas", re.I
)


class Secret(Section):
    """A value that is not in the job: it is in an environment variable, or a file (without its last line end)."""

    env: str | None = Field(default=None, description="name of the environment variable")
    file: str | None = Field(default=None, description="path of the file")

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("write {env: NAME} or {file: PATH}")
        return self


def _no_secrets(client: dict[str, Any]) -> dict[str, Any]:
    for name, value in client.items():
        if _SECRET.search(name) and not isinstance(value, Secret):
            raise ValueError(
                f"`{name}` is a secret: write {name}: {{env: NAME}} or {{file: PATH}}, not the value itself"
            )
    return client


def decided_elsewhere(own: Mapping[str, str]) -> AfterValidator:
    """Refuses client options that the plugin has to decide itself: `own`, each with what to set instead."""

    def check(client: dict[str, Any]) -> dict[str, Any]:
        for name in client:
            if name in own:
                raise ValueError(f"`{name}` cannot be set here: {own[name]}")
            if name.endswith("_cb") or name == "logger":
                raise ValueError(f"`{name}` cannot be set here: it is a function of a program's")
        return client

    return AfterValidator(check)


def split_names(value: object) -> object:
    """A text with commas as the list of its parts; anything else as it is."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


#: Options of a client library, as they are; secrets by reference.
ClientOptions = Annotated[dict[str, Secret | bool | int | float | str], AfterValidator(_no_secrets)]
Servers = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(split_names), Field(min_length=1)]
