"""Puts a job together from its file, `PENROSE_*` variables and flags; a flag beats a variable beats the file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from penrose_host.config.jobfile import parse_value, read_job_file
from penrose_host.config.plugin_choice import PluginChoice
from penrose_host.plugins.index import bare_name

__all__ = ["OWN_VARIABLES", "PLUGIN_KEYS", "Flags", "Merged", "merge"]

#: Keys of the job whose value is one plugin: a name, or a mapping with `name` and options.
PLUGIN_KEYS = ("environment", "datasource", "executor", "embedding")
#: Variables that belong to the program and not to the job.
OWN_VARIABLES = frozenset({"PENROSE_BLOCK", "PENROSE_ALLOW_DIST", "PENROSE_LOG_FORMAT"})

_PREFIX = "PENROSE_"
#: Kubernetes puts such variables into every pod beside a Service of that name (`enableServiceLinks`): nobody set them.
_SERVICE_LINK = re.compile(r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT|_PORT_[0-9]+_[A-Z0-9_]+)$")
#: Keys of one command only: the variables that set them are passed over where the job has no such key.
_ELSEWHERE = frozenset({"sink"})


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says about the job; None and empty where it says nothing."""

    environment: str | None = None
    datasource: str | None = None
    executor: str | None = None
    embedding: str | None = None
    plugins: tuple[str, ...] = ()  # -p NAME: one more hook each
    options: tuple[str, ...] = ()  # -o a.b.c=value
    until: str | None = None  # rows=N, event_time=T, now or stream=…
    run_dir: str | None = None


@dataclass(slots=True)
class Merged:
    """The job's values, not validated yet, and dotted place → where the value came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    #: Plugin key → name → the options of a plugin that another took the place of, the first first, with what was set
    #: since: the other one may share its schema.
    set_aside: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def set(self, place: str, value: object, origin: str) -> None:
        """Put `value` at a dotted place. Another name for a plugin sets the options of the one it replaces aside."""
        keys = place.split(".")
        if keys[0] in PLUGIN_KEYS and keys[1:] in ([], ["name"]) and not isinstance(value, Mapping):
            self._choose(keys[0], value, origin)
            return
        if fault := _put(self.data, keys, value):
            self.faults.append((origin, f"{place} cannot be set: {fault}"))
            return
        if len(keys) == 1:
            self.set_aside.pop(place, None)
        for options in self.set_aside.get(keys[0], {}).values():
            if _put(options, keys[1:], value):
                options[keys[1]] = self.data[keys[0]][keys[1]]
        self._came_from(place, origin)

    def with_set_aside(self, key: str, choice: PluginChoice) -> PluginChoice:
        """The choice that the data hold for a plugin key, with the options that were set aside for it."""
        return choice.model_copy(update={"set_aside": self.set_aside.get(key, {})})

    def _choose(self, key: str, name: object, origin: str) -> None:
        options = self.data.get(key, {})
        known, new = options.pop("name", None), bare_name(str(name))
        if known is None or bare_name(str(known)) != new:
            if known is not None:
                self.set_aside.setdefault(key, {}).setdefault(bare_name(str(known)), options)
            options = {}
            self._came_from(key, origin)
        self.data[key] = {"name": name, **options}
        self._came_from(f"{key}.name", origin)

    def _came_from(self, place: str, origin: str) -> None:
        for old in [known for known in self.origins if known.startswith(f"{place}.")]:
            del self.origins[old]
        self.origins[place] = origin


def merge(path: Path | None, flags: Flags, environ: Mapping[str, str], fields: Collection[str]) -> Merged:
    """All layers of a job whose keys are `fields`. Raises `ConfigError` where the file is no mapping;
    faults of flags and variables are kept in the result."""
    merged = Merged()
    if path is not None:
        merged.data, merged.origins = read_job_file(path)
    for key in PLUGIN_KEYS:
        value = merged.data.get(key)
        if value is None:
            merged.data.pop(key, None)
        elif not isinstance(value, dict):
            merged.data[key] = {"name": value}
    _add_variables(merged, environ, fields)
    _add_flags(merged, flags)
    return merged


def _put(root: dict[str, Any], keys: Sequence[str], value: object) -> str | None:
    """Put a value into nested mappings, made where there are none; otherwise says what is in the way."""
    node = root
    for depth, key in enumerate(keys[:-1], start=1):
        inner = node.get(key)
        if inner is None:
            inner = node[key] = {}
        if not isinstance(inner, dict):
            kind = "a list: set it as a whole, as in [a, b]" if isinstance(inner, list) else "not a mapping"
            return f"{'.'.join(keys[:depth])} is {kind}"
        node = inner
    node[keys[-1]] = value
    return None


def _add_variables(merged: Merged, environ: Mapping[str, str], fields: Collection[str]) -> None:
    # Sorted: PENROSE_DATASOURCE chooses before PENROSE_DATASOURCE__PATH sets an option of what was chosen.
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(_PREFIX) or variable in OWN_VARIABLES or not text.strip():
            continue
        keys = variable.removeprefix(_PREFIX).lower().split("__")
        if keys[0] in _ELSEWHERE.difference(fields):
            continue
        if keys[0] not in fields and _SERVICE_LINK.search(variable):
            continue
        if keys[0] not in fields or not all(keys):
            known = sorted([*(_PREFIX + name.upper() for name in fields), *OWN_VARIABLES])
            close = get_close_matches(_PREFIX + keys[0].upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            merged.faults.append((variable, f"is not a variable of Penrose{hint} (unset it, or name it otherwise)"))
            continue
        _set_text(merged, ".".join(keys), text, variable)


def _add_flags(merged: Merged, flags: Flags) -> None:
    for key in PLUGIN_KEYS:
        if (name := getattr(flags, key)) is not None:
            merged.set(key, name, f"--{key}")
    if flags.run_dir is not None:
        merged.set("run_dir", flags.run_dir, "--run-dir")
    if flags.until is not None:
        name, equals, text = flags.until.partition("=")
        if flags.until == "now":
            merged.set("until.stream", "now", "--until")
        elif equals and name in ("rows", "event_time", "stream"):
            _set_text(merged, f"until.{name}", text, "--until")
        else:
            takes = "takes rows=N, event_time=T, now (what is there) or stream=T"
            merged.faults.append(("--until", f"{takes}, not {flags.until!r}"))
    for option in flags.options:
        place, equals, text = option.partition("=")
        place = place.strip()
        if not equals or not all(place.split(".")):
            merged.faults.append(("-o", f"takes a.b.c=value, not {option!r}"))
            continue
        _set_text(merged, place, text, f"-o {place}")
    for plugin in flags.plugins:
        _add_hook(merged, plugin)


def _set_text(merged: Merged, place: str, text: str, origin: str) -> None:
    try:
        merged.set(place, parse_value(text), origin)
    except ValueError as error:
        merged.faults.append((origin, str(error)))


def _add_hook(merged: Merged, text: str) -> None:
    """One more hook, unless the job has it already."""
    try:
        hook = parse_value(text)
    except ValueError as error:
        merged.faults.append(("-p", str(error)))
        return
    hooks = merged.data.get("hooks") or []
    if not isinstance(hooks, list):
        return  # the job's validation says so
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in hooks]
    if hook not in names:
        merged.data["hooks"] = [*hooks, hook]
        merged.origins[f"hooks.{len(hooks)}"] = "-p"
