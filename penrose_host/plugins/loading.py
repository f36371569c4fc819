"""Imports the one plugin that was selected, and makes it: stevedore loads, Penrose checks."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from stevedore import DriverManager

from penrose_host.contracts import plugin as contract
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.contracts.environment import Environment
from penrose_host.contracts.executor import Executor
from penrose_host.contracts.hooks import HookPlugin
from penrose_host.contracts.plugin import Plugin
from penrose_host.contracts.sink import Sink
from penrose_host.errors import ConfigError, PenroseError, PluginBroken, PluginIncompatible, described
from penrose_host.options.faults import faults_of
from penrose_host.plugins.index import Kind, Record

__all__ = ["create", "load", "load_command", "make", "validate"]

if TYPE_CHECKING:
    _DriverManager = DriverManager[Any]
else:
    _DriverManager = DriverManager  # older releases of stevedore are not generic

_BASES: dict[Kind, type[Plugin]] = {
    Kind.ENVIRONMENT: Environment,
    Kind.DATASOURCE: DataSource,
    Kind.EXECUTOR: Executor,
    Kind.EMBEDDING: EmbeddingBackend,
    Kind.HOOK: HookPlugin,
    Kind.SINK: Sink,
}


class _Driver(_DriverManager):
    """A driver manager that sees the one entry point of our own scan: stevedore's has a cache that goes stale."""

    def __init__(self, record: Record) -> None:
        self._entry_point = EntryPoint(name=record.name, value=record.target, group=record.kind.group)
        super().__init__(record.kind.group, record.name)

    def list_entry_points(self) -> list[EntryPoint]:
        return [self._entry_point]


def load(record: Record) -> type[Plugin]:
    """Import the plugin's class. Raises `PluginBroken` where that fails, `PluginIncompatible` where it is no use."""
    found = _imported(record)
    if wrong := _incompatibility(record.kind, found):
        raise _incompatible(record, found, wrong)
    plugin: type[Plugin] = found
    return plugin


def load_command(record: Record) -> Callable[[ArgumentParser], None]:
    """Import what gives a command its arguments. Raises as `load` does."""
    found = _imported(record)
    if isinstance(found, type) or not callable(found):
        raise _incompatible(record, found, "is not a function; a command is one that takes an ArgumentParser")
    command: Callable[[ArgumentParser], None] = found
    return command


def _imported(record: Record) -> Any:
    """What the entry point names. Raises `PluginBroken`."""
    if record.fault:
        raise _broken(record, record.fault)
    try:
        return _Driver(record).extensions[0].plugin
    except KeyboardInterrupt:
        raise
    except BaseException as cause:  # SystemExit too: an import must not end the program without a word
        raise _broken(record, f"importing {record.target} raised {_shown(cause)}") from cause


def validate(record: Record, plugin: type[Plugin], options: Mapping[str, Any], place: str) -> BaseModel:
    """The options, complete with defaults. Raises `ConfigError` with every fault, each at `place.option`."""
    try:
        return plugin.Options.model_validate(dict(options))
    except ValidationError as error:
        # Not chained: pydantic's text shows the input, which may hold a secret.
        raise ConfigError(faults_of(error, plugin.Options, options, place)) from None
    except PenroseError:
        raise
    except Exception as cause:
        raise _broken(record, f"validating its options raised {_shown(cause)}") from cause


def make(record: Record, plugin: type[Plugin], options: BaseModel) -> Plugin:
    """An instance. Raises `PluginBroken` where making it raises anything but an error of Penrose's own."""
    try:
        return plugin(options)
    except PenroseError:
        raise
    except Exception as cause:
        raise _broken(record, f"creating {record.target} raised {_shown(cause)}") from cause


def create(record: Record, options: Mapping[str, Any], place: str) -> Plugin:
    """Load the plugin, validate its options, make it."""
    plugin = load(record)
    return make(record, plugin, validate(record, plugin, options, place))


def _incompatibility(kind: Kind, found: object) -> str | None:
    """Why this object cannot be a plugin of `kind`; None where it can."""
    base = _BASES[kind]
    if not isinstance(found, type):
        return f"is not a class but {type(found).__name__}; {kind} plugins derive from penrose_host.{base.__name__}"
    if not issubclass(found, base):
        return f"does not derive from penrose_host.{base.__name__}, as {kind} plugins must"
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        return f"lacks {', '.join(missing)}"
    version = getattr(found, "api_version", None)
    if type(version) is not int or version not in _accepted():
        said = "declares no api_version" if version is None else f"is written for plugin API {version!r}"
        return f"{said}; this host accepts {' and '.join(map(str, _accepted()))}"
    options = getattr(found, "Options", None)
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        return "has no Options, a pydantic model of what it can be told"
    if options.model_config.get("extra") != "forbid":
        return 'has Options without extra="forbid", which would take misspelt options without a word'
    if "name" in options.model_fields:
        return "has an option called `name`, which in a job is the name of the plugin"
    return None


def _incompatible(record: Record, found: object, wrong: str) -> PluginIncompatible:
    return PluginIncompatible(f"{record.title}: {record.target} {wrong}", hint=_remedy(record, found), **record.names)


def _accepted() -> list[int]:
    """The plugin APIs that this host speaks, its own first."""
    return [version for version in (contract.API_VERSION, contract.API_VERSION - 1) if version > 0]


def _remedy(record: Record, found: object) -> str:
    """What to type where a plugin and this host do not fit together."""
    version = getattr(found, "api_version", None)
    if type(version) is int and version > contract.API_VERSION:
        return f"this host is too old for it: pip install --upgrade penrose-host   (or an older {record.dist})"
    if type(version) is int and version not in _accepted():
        return f"it is too old for this host: pip install --upgrade {record.dist}   (or an older penrose-host)"
    from penrose_host.plugins.editable_installs import editable_folder

    if folder := editable_folder(record.dist):
        return f"change it in {folder}; its contract tests say more: pytest {shlex.quote(str(folder))}"
    return f"look for a release that fits this host: pip install --upgrade {record.dist} penrose-host"


def _shown(cause: BaseException) -> str:
    return f"{described(cause)} (the program would have ended)" if isinstance(cause, SystemExit) else described(cause)


def _broken(record: Record, what: str) -> PluginBroken:
    from penrose_host.plugins.editable_installs import reinstall

    return PluginBroken(
        f"{record.title} is broken: {what}",
        **record.names,
        hint=f"try: {reinstall(record.dist)}   "
        f"(to see where it fails: penrose plugins show {record.name} --traceback; all that is wrong: penrose doctor)",
    )
