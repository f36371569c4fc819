"""From a job to the plugins it names: found, imported, their options validated, all faults in one error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from penrose_host.config.job import Job
from penrose_host.config.jobfile import read_job_file, to_yaml
from penrose_host.config.layers import PLUGIN_KEYS, Flags, Merged
from penrose_host.config.loading import merge_layers, validate_job
from penrose_host.config.plugin_choice import NO_EMBEDDING, PluginChoice, parse_choice
from penrose_host.contracts.executor import Executor
from penrose_host.contracts.plugin import Plugin
from penrose_host.errors import ConfigError, PenroseError, PluginError
from penrose_host.options.faults import with_origins
from penrose_host.plugins.index import Kind, bare_name
from penrose_host.plugins.loading import load as load_plugin, validate
from penrose_host.plugins.selected import Selected
from penrose_host.plugins.selection import SelectionPolicy, known_schema

__all__ = ["Resolved", "Selection", "load", "resolve"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A job and its plugins; `embedding` is None with `embedding: none`."""

    job: Job
    environment: Selected
    datasource: Selected
    executor: Selected
    embedding: Selected | None
    hooks: tuple[Selected, ...]

    @property
    def plugins(self) -> tuple[Selected, ...]:
        """All of them."""
        embedding = () if self.embedding is None else (self.embedding,)
        return (self.environment, self.datasource, self.executor, *embedding, *self.hooks)

    def to_dict(self) -> dict[str, Any]:
        """The whole job in JSON types, with every default; secrets are masked, so that it may be shown and kept."""
        embedding = self.embedding.to_dict() if self.embedding else NO_EMBEDDING
        plugins = {
            "environment": self.environment.to_dict(),
            "datasource": self.datasource.to_dict(),
            "executor": self.executor.to_dict(),
            "embedding": embedding,
            "hooks": [hook.to_dict() for hook in self.hooks],
        }
        return {**self.job.to_dict(), **plugins}

    def to_yaml(self) -> str:
        """`to_dict` as a job file."""
        return to_yaml(self.to_dict())

    def fingerprint(self, *, tables: bool = True) -> dict[str, Any]:
        """What a checkpoint depends on, in JSON types: a run with another fingerprint cannot go on from it.

        `tables`: whether the executor asked for any; a backend that made none counts as `none`. An option declared with
        `json_schema_extra={"fingerprint": False}` (a device, a number of threads) may change between two runs.
        """
        whole = self.to_dict()
        whole["executor"] = _fingerprint_of(self.executor)
        whole["embedding"] = _fingerprint_of(self.embedding) if self.embedding and tables else {"name": NO_EMBEDDING}
        return {key: whole[key] for key in ("features", "order", "micro_batch", "executor", "embedding", "seed")}


def resolve(job: Job, *, policy: SelectionPolicy | None = None, fresh: bool = False) -> Resolved:
    """Find and import the job's plugins and validate their options. `policy`: None allows all that is installed.

    An embedding that the job leaves out is what its run directory was begun with; with `fresh`, and where it was not,
    what the executor says. Raises one `ConfigError` with every fault; a plugin that cannot be used, where that alone
    is wrong, raises its own `PluginError`.
    """
    selection = Selection(policy or SelectionPolicy())
    selection.add(_choices_of(job))
    return _resolved(job, selection, {}, fresh)


def load(
    path: Path | str | None,
    flags: Flags | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    policy: SelectionPolicy | None = None,
    fresh: bool = False,
) -> Resolved:
    """`load_job` and `resolve` in one: one error for the faults of the job and of its plugins' options."""
    merged = merge_layers(path, flags, environ)
    job, faults = validate_job(merged)
    selection = Selection(policy or SelectionPolicy(), faults)
    selection.add(dict(_valid_choices(merged)) if job is None else _choices_of(job))
    return _resolved(job, selection, merged.origins, fresh)


def _resolved(job: Job | None, selection: Selection, origins: Mapping[str, str], fresh: bool) -> Resolved:
    """`job` is None where it has faults of its own: then the plugins that it names still add theirs."""
    if job is not None and job.embedding is None and "executor" in selection.plugins:
        _add_embedding(job, selection, fresh)
    selection.raise_faults(origins)
    assert job is not None, "a job that is not valid has faults"
    plugins = selection.plugins
    return Resolved(
        job,
        plugins["environment"],
        plugins["datasource"],
        plugins["executor"],
        plugins.get("embedding"),
        tuple(plugins[f"hooks.{i}"] for i in range(len(job.hooks))),
    )


class Selection:
    """The plugins selected so far, by their place in the job, and all that is wrong with others."""

    def __init__(self, policy: SelectionPolicy, faults: Sequence[tuple[str, str]] = ()) -> None:
        self.plugins: dict[str, Selected] = {}
        self._policy = policy
        #: Place → what is wrong there: with values, and with plugins that cannot be used.
        self._faults = list(faults)
        self._errors: list[tuple[str, PluginError]] = []

    def add(self, choices: Mapping[str, PluginChoice], *, hint: str | None = None) -> None:
        """Select the plugins of these places. `hint`: what may be typed where one cannot be used, beside its own."""
        for place, choice in choices.items():
            kind = Kind.HOOK if place.startswith("hooks.") else Kind(place)
            if kind is Kind.EMBEDDING and choice.name == NO_EMBEDDING:
                self._faults += [
                    (f"{place}.{option}", "is an option, and `none` has none") for option in choice.options
                ]
                continue
            try:
                record = self._policy.select(kind, choice.name)
                plugin = load_plugin(record)
                options = validate(record, plugin, self._options(place, kind, choice, plugin), place)
                self.plugins[place] = Selected(record, plugin, options)
            except ConfigError as error:
                self._faults += error.faults
            except PluginError as error:
                error.hint = "\n  ".join(text for text in (error.hint, hint) if text) or None
                self._errors.append((place, error))

    def raise_faults(self, origins: Mapping[str, str]) -> None:
        """Raise one ConfigError for all that is wrong, or a plugin's own error where that is all; nothing otherwise."""
        if len(self._errors) == 1 and not self._faults:
            raise self._errors[0][1]
        if self._faults or self._errors:
            faults = [*self._faults, *((place, _one_line(error)) for place, error in self._errors)]
            raise ConfigError(with_origins(faults, origins))

    def _options(self, place: str, kind: Kind, choice: PluginChoice, plugin: type[Plugin]) -> Mapping[str, Any]:
        """The options of a choice: the first that were set aside for it and are of this plugin, or of its schema."""
        schema = plugin.options_schema
        for name, options in choice.set_aside.items():
            if name == bare_name(choice.name):
                return options
            if options and schema is not None and self._schema(place, kind, name, choice.name) == schema:
                return options
        return choice.options

    def _schema(self, place: str, kind: Kind, name: str, instead: str) -> str | None:
        """The schema of a plugin's options, known or declared. Raises ConfigError where it cannot be found out."""
        if (known := known_schema(kind, name)) is not None:
            return known
        try:
            return load_plugin(self._policy.select(kind, name)).options_schema
        except PluginError as error:
            why = f"whether the options that are given for {name!r} mean the same to {instead!r} cannot be told"
            way_out = f"to leave them out: -o '{place}={{name: {instead}}}'"
            raise ConfigError([(place, f"{why}: {error.message}; {way_out}")]) from error


def _add_embedding(job: Job, selection: Selection, fresh: bool) -> None:
    """Select the embedding of a job that names none. What is installed has no say in it."""
    executor = selection.plugins["executor"]
    begun_with = None if fresh else _begun_with(job.run_directory, executor.record.name)
    if begun_with is not None:
        selection.add({Kind.EMBEDDING.value: begun_with})
        return
    assert issubclass(executor.plugin, Executor)
    selection.add(
        {Kind.EMBEDDING.value: PluginChoice(name=executor.plugin.default_embedding)},
        hint=f"the executor {executor.record.name} uses it where a job names no embedding; to use another: "
        f"--embedding hashing, or --embedding {NO_EMBEDDING}",
    )


def _begun_with(run_dir: Path, executor: str) -> PluginChoice | None:
    """The embedding that this run directory was begun with; None where it was not, or with another executor."""
    kept = run_dir / "job.yaml"
    if not kept.exists():
        return None
    before, _ = read_job_file(kept)
    try:
        embedding = parse_choice(before.get("embedding"))
        same = bare_name(parse_choice(before.get("executor")).name) == executor
    except ValueError:
        return None  # it is no job of a run
    # A secret stands there as its mask, which is none.
    options = {name: value for name, value in embedding.options.items() if value != str(SecretStr("masked"))}
    return PluginChoice(name=embedding.name, options=options) if same else None


def _one_line(error: PenroseError) -> str:
    return " · ".join(line.strip() for line in str(error).splitlines())


def _choices_of(job: Job) -> dict[str, PluginChoice]:
    """place → choice, for every plugin of the job."""
    chosen = {key: choice for key in PLUGIN_KEYS if (choice := getattr(job, key)) is not None}
    return chosen | {f"hooks.{i}": c for i, c in enumerate(job.hooks)}


def _valid_choices(merged: Merged) -> Iterator[tuple[str, PluginChoice]]:
    """The plugins of a job that is not valid as a whole; what is no choice is a fault of the job already."""
    hooks = merged.data.get("hooks")
    entries = [(key, merged.data[key]) for key in PLUGIN_KEYS if key in merged.data]
    entries += [(f"hooks.{i}", entry) for i, entry in enumerate(hooks if isinstance(hooks, list) else ())]
    for place, entry in entries:
        try:
            choice = parse_choice(entry)
        except ValueError:
            continue
        yield place, merged.with_set_aside(place, choice)


def _fingerprint_of(selected: Selected) -> dict[str, Any]:
    """Name and options, without the options that a checkpoint does not depend on."""
    fields = type(selected.options).model_fields
    extras = {name: field.json_schema_extra for name, field in fields.items()}
    free = {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("fingerprint") is False}
    return {name: value for name, value in selected.to_dict().items() if name not in free}
