"""What `penrose plugins show` says of one plugin: everything comes from its class and its Options."""

from __future__ import annotations

import inspect
import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from penrose_host.contracts.plugin import Plugin
from penrose_host.plugins.index import Kind, Record
from penrose_host.plugins.loading import load, load_command

__all__ = ["as_json", "as_text", "option_rows"]

_TYPES = {"string": "text", "array": "list", "object": "mapping"}
_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def as_json(record: Record) -> dict[str, Any]:
    """The plugin in JSON types, its options as a JSON schema. Raises what `load` raises."""
    if record.kind is Kind.COMMAND:
        return {**asdict(record), "description": _summary(load_command(record))}
    plugin = load(record)
    return {
        **asdict(record),
        "api_version": plugin.api_version,
        "description": _summary(plugin),
        "capabilities": _capabilities(plugin),
        "options": _schema(plugin.Options),
    }


def as_text(record: Record) -> str:
    """The plugin for a person. Raises what `load` raises."""
    if record.kind is Kind.COMMAND:
        summary = _summary(load_command(record))
        return (
            f"command {record.name}: {summary}\n"
            f"  from          {record.dist} {record.version} ({record.target})\n"
            f"  usage         penrose {record.name} --help"
        )
    plugin = load(record)
    width = min(shutil.get_terminal_size().columns, 120)
    lines = [
        f"{record.kind} {record.name}: {_summary(plugin)}",
        f"  from          {record.dist} {record.version} ({record.target}, plugin API {plugin.api_version})",
        f"  capabilities  {', '.join(_capabilities(plugin)) or 'none'}",
    ]
    rows = list(option_rows(plugin.Options))
    lines.append(f"  options       {'as follows' if rows else 'none'}")
    for name, type_, default, meaning in rows:
        lines += ["", f"{name}: {type_}, {default}"]
        lines += textwrap.wrap(meaning, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def option_rows(model: type[BaseModel]) -> Iterator[list[str]]:
    """(dotted name, type, `required` or `default ...`, meaning) of every option; nested ones after their parent."""
    schema = _schema(model)
    yield from _rows(schema, schema.get("$defs", {}), "", ())


class _Lenient(GenerateJsonSchema):
    """A type that JSON schema has no word for is shown as anything."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        return {}

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        inner = schema["schema"]
        if inner["type"] == "nullable" and found.get("default") is not None:
            # pydantic writes a default with the type's own serializer only where the type cannot be null too.
            not_null = super().default_schema({**schema, "schema": inner["schema"]})
            found["default"] = not_null["default"]
        return found


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    # As options are written in a job, not as they are held: a duration is text.
    return model.model_json_schema(mode="serialization", schema_generator=_Lenient)


def _rows(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str, inside: tuple[str, ...]
) -> Iterator[list[str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        nested: list[list[str]] = []
        meaning = field.get("description", "")
        for reference, model in _models(field, definitions):
            meaning = meaning or model.get("description", "").partition("\n\n")[0]  # a section says itself what it is
            if reference not in inside:  # a model may contain itself
                nested += _rows(model, definitions, f"{prefix}{name}.", (*inside, reference))
        default = "required" if name in required else f"default {_default(field.get('default'), prefix + name, nested)}"
        yield [prefix + name, _type(field, definitions), default, " ".join(meaning.split())]
        yield from (row for place, row in enumerate(nested) if row not in nested[:place])


def _default(value: object, name: str, nested: list[list[str]]) -> str:
    """A mapping whose every key is an option of its own needs no writing out."""
    if isinstance(value, dict) and value and {f"{name}.{key}" for key in value} <= {row[0] for row in nested}:
        return "as follows"
    return _value(value)


def _models(field: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nested models that a field may hold, by reference."""
    if "$ref" in field:
        reference = field["$ref"].rpartition("/")[2]
        if "properties" in definitions[reference]:
            yield reference, definitions[reference]
    for part in [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ()), field.get("items")]:
        if isinstance(part, dict):
            yield from _models(part, definitions)


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        target = definitions[field["$ref"].rpartition("/")[2]]
        return "mapping" if "properties" in target else _type(target, definitions)
    if "const" in field:
        return _value(field["const"])
    if "enum" in field:
        return " | ".join(map(_value, field["enum"]))
    if parts := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
        return " | ".join(dict.fromkeys(_type(part, definitions) for part in parts))
    name = str(field.get("type", "anything"))
    if name == "array" and isinstance(field.get("items"), dict):
        return f"list of {_type(field['items'], definitions)}"
    limits = "".join(f" {sign} {field[key]}" for key, sign in _LIMITS.items() if key in field)
    return _TYPES.get(name, name) + limits


def _value(value: object) -> str:
    """As it is written in a job: words as they are, everything else as JSON."""
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)


def _summary(plugin: object) -> str:
    return (inspect.getdoc(plugin) or "no description").partition("\n")[0]


def _capabilities(plugin: type[Plugin]) -> list[str]:
    return sorted(capability.value for capability in plugin.capabilities)
