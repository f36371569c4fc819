"""What pydantic found wrong, as (place, message) pairs that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from penrose_host.options.wording import plain

__all__ = ["faults_of", "with_origins"]

#: Kinds of error whose message needs the value to be understood; a secret is never of these types.
_SHOW_VALUE = frozenset({"literal_error", "enum"})
#: Sections in sections in sections: a model that holds itself has no end.
_DEEPEST = 4
_NOTHING = object()


def faults_of(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], place: str = ""
) -> list[tuple[str, str]]:
    """One fault for each place in `data`, which was validated as `model` and stands at `place` in the job."""
    messages: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail["loc"], data)
        where = ".".join([place, *map(str, path)] if place else map(str, path)) or "the job"
        known = messages.setdefault(where, [])
        if (message := _message(detail, model, path, place)) not in known:
            known.append(message)
    return [(where, "; or ".join(texts)) for where, texts in messages.items()]


def with_origins(faults: Sequence[tuple[str, str]], origins: Mapping[str, str]) -> list[tuple[str, str]]:
    """The faults, each with the file and line, flag or variable that its place, or what encloses it, came from."""

    def origin(place: str) -> str | None:
        while place and place not in origins:
            place = place.rpartition(".")[0]
        return origins.get(place)

    return [(place, f"{message} ({found})" if (found := origin(place)) else message) for place, message in faults]


def _path(loc: tuple[int | str, ...], data: object) -> list[int | str]:
    """The keys and indices of `loc`, without the names that pydantic adds for the members of a union."""
    path: list[int | str] = []
    for depth, part in enumerate(loc, start=1):
        inner = _child(data, part)
        # What is not there is a name of pydantic's, or, at the end, a field that is missing.
        if inner is _NOTHING and not (depth == len(loc) and isinstance(data, Mapping)):
            continue
        path.append(part)
        data = inner
    return path


def _child(data: object, part: int | str) -> object:
    if isinstance(data, Mapping):
        return data.get(part, _NOTHING)
    if isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
        return data[part]
    return _NOTHING


def _message(detail: Any, model: type[BaseModel], path: Sequence[int | str], place: str) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]) if path else "", dict(_places(model, place)), _models_at(model, path[:-1]))
    message = plain(kind, str(detail["msg"]), detail.get("ctx") or {})
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"{message}: write it in quotes"
    if kind in _SHOW_VALUE or (isinstance(value, bool | int | float) and kind != "value_error"):
        return f"{message}, not {value!r}"
    return message


def _unknown(name: str, nested: Mapping[str, str], owners: Sequence[type[BaseModel]]) -> str:
    """Where the key would be known: elsewhere by this name, or here by a similar one, or elsewhere by a similar one."""
    names = sorted({known for owner in owners for known in owner.model_fields})
    elsewhere = [place for place, last in nested.items() if last == name]
    close = elsewhere or get_close_matches(name, names, n=1)
    if not close and (similar := get_close_matches(name, nested.values(), n=1, cutoff=0.8)):
        close = [place for place, last in nested.items() if last == similar[0]]
    if close:
        return f"is unknown; did you mean {' or '.join(f'`{place}`' for place in close[:4])}?"
    return f"is unknown; known are {', '.join(names)}" if names else "is unknown: there is nothing to set here"


def _places(model: type[BaseModel], place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Dotted place, and its last part, of every key in the sections of `model`; what lists hold has no such place."""
    for name, field in model.model_fields.items():
        here = f"{place}.{name}" if place else name
        if depth:
            yield here, name
        for inner in _sections(field.annotation):
            if depth < _DEEPEST and not getattr(inner, "takes_any_key", False):
                yield from _places(inner, here, depth + 1)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value itself may be, and not those of its items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for argument in get_args(annotation):
            yield from _sections(argument)


def _models_at(model: type[BaseModel], path: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that may stand at `path`, through unions and lists."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            fields = [owner.model_fields[part] for owner in models if part in owner.model_fields]
            models = [found for field in fields for found in _models_in(field.annotation)]
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
