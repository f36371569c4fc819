"""How a job names a plugin: its name and its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from penrose_host.options.section import Section

__all__ = ["NAME", "NO_EMBEDDING", "Choice", "PluginChoice", "parse_choice"]

#: The embedding that is no plugin: the framework's own layers hold the embeddings.
NO_EMBEDDING = "none"

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class PluginChoice(Section):
    """One plugin of a job: a name (`dist:name` where two distributions have it), and its options."""

    #: A file has the options beside the name.
    takes_any_key: ClassVar[bool] = True

    name: str = Field(pattern=rf"^({NAME}:)?{NAME}$")
    options: dict[str, Any] = Field(default_factory=dict, repr=False)  # may hold secrets
    #: Name → the options of each plugin that a flag or a variable put this one in the place of, the first first, with
    #: what was set since. They count where both plugins declare the same schema.
    set_aside: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)


def parse_choice(value: object) -> PluginChoice:
    """The form in a job file: a name, or a mapping with `name` and the plugin's options. Raises ValueError."""
    if isinstance(value, PluginChoice):
        return value
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping):
        raise ValueError("should be the name of a plugin, or a mapping with `name` and its options")
    if "name" not in options:
        raise ValueError("needs a `name`")
    rest = {key: option for key, option in options.items() if key != "name"}
    try:
        return PluginChoice(name=options["name"], options=rest)
    except ValidationError:
        raise ValueError(f"{options['name']!r} is not the name of a plugin: write `name`, or `dist:name`") from None


def _choice_form(choice: PluginChoice) -> dict[str, Any]:
    return {"name": choice.name, **choice.model_dump(mode="json")["options"]}


Choice = Annotated[PluginChoice, BeforeValidator(parse_choice), PlainSerializer(_choice_form)]
