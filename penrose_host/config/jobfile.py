"""The text of a job: YAML or TOML in, YAML out. Scalars follow YAML 1.2, so `no` is a word and `1e-3` a number."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

import yaml

from penrose_host.errors import ConfigError

__all__ = ["parse_value", "read_job_file", "to_yaml"]

_MAX_BYTES = 1 << 20
_MAX_NODES = 100_000

#: tag, pattern, characters a match can start with: the core schema of YAML 1.2.
_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """Splits the text into nodes; values are made by `_Reader`, so that no tag can make anything else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Quotes every string that this loader, or one of YAML 1.1, would not read as a string."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # YAML folds these line ends of Unicode to spaces unless they are escaped.
        style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
        return self.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _tag, _pattern, _first in _SCALARS:
    _regexp = re.compile(f"^(?:{_pattern})$")
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_tag}", _regexp, list(_first))


def read_job_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's mapping, and where each dotted place in it stands (`job.yaml:12`). Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([(str(path), f"cannot be read: {error.strerror or error}")]) from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError([(str(path), f"is longer than the {_MAX_BYTES} bytes a job may have")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([(f"{path}:{line}", f"is not UTF-8: byte {raw[error.start]:#04x}")]) from error
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return _read_toml(text, path)
    if suffix in (".yaml", ".yml"):
        return _read_yaml(text, str(path))
    raise ConfigError([(str(path), "is neither .yaml, .yml nor .toml")])


def parse_value(text: str) -> Any:
    """The value of a flag or variable: a YAML scalar, or a list or mapping where it starts with `[` or `{`.

    Text that starts with a quote ends with it. Everything else YAML gives a meaning to (`*`, `#`, `: `) is
    plain text here. Raises ValueError.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return _Reader(text, "").read()[0]
        except ConfigError as error:
            raise ValueError(f"{text!r} cannot be read ({error.faults[0][1]}); put plain text in quotes") from error
    loader = _Loader("")
    try:
        tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return _scalar(tag, text)
    finally:
        loader.dispose()


def to_yaml(data: Mapping[str, Any]) -> str:
    """`data` (JSON types) as YAML that `read_job_file` reads as the same."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _scalar(tag: str, text: str) -> Any:
    """The value of a scalar. Raises ValueError for a tag that is not a JSON type, or text that is not of its type."""
    match tag.removeprefix(_TAG):
        case "str" | "merge":
            return text
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case kind:
            raise ValueError(f"{text[:40]!r} cannot be of type {kind}")


def _read_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    data, lines = _Reader(text, source).read()
    if data is None:
        raise ConfigError([(source, "is empty")])
    if not isinstance(data, dict):
        raise ConfigError([(source, "holds no mapping at its top")])
    return data, {place: f"{source}:{line}" for place, line in lines.items()}


def _read_toml(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([(str(path), f"is not valid TOML: {error}")]) from error
    if not data:
        raise ConfigError([(str(path), "is empty")])
    return _without_dates(data), {key: str(path) for key in data}


def _without_dates(value: Any) -> Any:
    """TOML's dates and times as text, which is what YAML, flags and variables give."""
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return value.isoformat() if isinstance(value, date | time) else value


class _Reader:
    """Builds plain values out of YAML nodes; notes lines, collects faults, follows no endless alias."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._lines: dict[str, int] = {}
        self._faults: list[tuple[str, str]] = []
        self._nodes = 0

    def read(self) -> tuple[Any, dict[str, int]]:
        """The document, and dotted place → line. Raises `ConfigError` with every fault of its form."""
        try:
            self._loader = _Loader(self._text)
            try:
                node = self._loader.get_single_node()
                value = None if node is None else self._value(node, ())
            finally:
                self._loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError([(self._at(mark), f"is not valid YAML: {error.problem or error.context}")]) from error
        except yaml.YAMLError as error:
            raise ConfigError([(self._source, f"is not valid YAML: {' '.join(str(error).split())}")]) from error
        except RecursionError as error:
            raise ConfigError([(self._source, "is nested too deeply, or an alias contains itself")]) from error
        if self._faults:
            raise ConfigError(self._faults)
        return value, self._lines

    def _at(self, mark: Any) -> str:
        return f"{self._source}:{mark.line + 1}" if mark is not None else self._source

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise yaml.YAMLError(f"more than {_MAX_NODES} values (aliases count each time)")
        if isinstance(node, yaml.CollectionNode) and node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._faults.append((self._at(node.start_mark), f"the tag {node.tag} cannot be used in a job"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = [(item, (*path, str(index))) for index, item in enumerate(node.value)]
            self._lines.update({".".join(place): item.start_mark.line + 1 for item, place in items})
            return [self._value(item, place) for item, place in items]
        try:
            return _scalar(node.tag, node.value)
        except ValueError as error:
            self._faults.append((self._at(node.start_mark), str(error)))
            return None

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        """The mapping; keys that `<<` merges in yield to its own."""
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                for part in self._merged(value_node, path):
                    merged = {**part, **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                shown = getattr(key_node, "value", "") if isinstance(key_node, yaml.ScalarNode) else "this key"
                self._faults.append((self._at(key_node.start_mark), f"{shown!r} is a key and not text: quote it"))
                continue
            key = key_node.value
            if key in own:
                place = ".".join((*path, key))
                self._faults.append((self._at(key_node.start_mark), f"{place} stands here a second time"))
            self._lines[".".join((*path, key))] = key_node.start_mark.line + 1
            own[key] = self._value(value_node, (*path, key))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: tuple[str, ...]) -> list[dict[str, Any]]:
        value = self._value(node, path)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._faults.append((self._at(node.start_mark), "`<<` takes a mapping, or a list of mappings"))
            return []
        return parts
