"""From a job to the plugins it names: found, imported, their options validated, all faults in one error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penrose_host.config.job import Job
from penrose_host.config.jobfile import to_yaml
from penrose_host.config.layers import PLUGIN_KEYS, Flags, Merged
from penrose_host.config.loading import merge_layers, validate_job
from penrose_host.config.plugin_choice import NO_EMBEDDING, PluginChoice, parse_choice
from penrose_host.contracts.executor import Executor
from penrose_host.errors import ConfigError, PenroseError, PluginError
from penrose_host.options.faults import with_origins
from penrose_host.plugins.index import Index, Kind, scan
from penrose_host.plugins.loading import load as load_plugin, validate
from penrose_host.plugins.selected import Selected
from penrose_host.plugins.selection import forbidden, select

__all__ = ["Resolved", "load", "raise_faults", "resolve", "select_all"]


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

    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint depends on, in JSON types: a run with another fingerprint cannot go on from it.

        An option declared with `json_schema_extra={"fingerprint": False}` (a device, a number of threads)
        may change between two runs.
        """
        whole = self.to_dict()
        whole["executor"] = _fingerprint_of(self.executor)
        whole["embedding"] = _fingerprint_of(self.embedding) if self.embedding else {"name": NO_EMBEDDING}
        return {key: whole[key] for key in ("features", "order", "micro_batch", "executor", "embedding", "seed")}


def resolve(
    job: Job,
    *,
    block: Collection[str] = (),
    allow_dists: Collection[str] | None = None,
    index: Index | None = None,
) -> Resolved:
    """Find and import the job's plugins and validate their options.

    Raises one `ConfigError` with every fault; a plugin that cannot be used, where that alone is wrong,
    raises its own `PluginError`.
    """
    return _resolve(job, _choices_of(job), [], {}, block, allow_dists, index)


def load(
    path: Path | str | None,
    flags: Flags | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    block: Collection[str] = (),
    allow_dists: Collection[str] | None = None,
    index: Index | None = None,
) -> Resolved:
    """`load_job` and `resolve` in one: one error for the faults of the job and of its plugins' options."""
    merged = merge_layers(path, flags, environ)
    job, faults = validate_job(merged)
    choices = dict(_valid_choices(merged)) if job is None else _choices_of(job)
    return _resolve(job, choices, faults, merged.origins, block, allow_dists, index)


def _resolve(
    job: Job | None,
    choices: Mapping[str, PluginChoice],
    faults: list[tuple[str, str]],
    origins: Mapping[str, str],
    block: Collection[str],
    allow_dists: Collection[str] | None,
    index: Index | None,
) -> Resolved:
    """`job` is None where it has faults of its own: then the plugins that it names still add theirs."""
    index = index or scan()
    selected, more, errors = select_all(choices, block, allow_dists, index)
    if job is not None and job.embedding is None and "executor" in selected:
        preferred = _preferred_embedding(selected["executor"], block, allow_dists, index)
        also, its_faults, its_errors = select_all(preferred, block, allow_dists, index)
        selected, more, errors = selected | also, more + its_faults, errors + its_errors
    raise_faults([*faults, *more], errors, origins)
    assert job is not None, "a job that is not valid has faults"
    return Resolved(
        job,
        selected["environment"],
        selected["datasource"],
        selected["executor"],
        selected.get("embedding"),
        tuple(selected[f"hooks.{i}"] for i in range(len(job.hooks))),
    )


def raise_faults(
    faults: list[tuple[str, str]], errors: list[tuple[str, PluginError]], origins: Mapping[str, str]
) -> None:
    """Raise one ConfigError for all that is wrong, or a plugin's own error where that is all; nothing otherwise."""
    if len(errors) == 1 and not faults:
        raise errors[0][1]
    if faults or errors:
        faults = [*faults, *((place, _one_line(error)) for place, error in errors)]
        raise ConfigError(with_origins(faults, origins))


def select_all(
    choices: Mapping[str, PluginChoice], block: Collection[str], allow_dists: Collection[str] | None, index: Index
) -> tuple[dict[str, Selected], list[tuple[str, str]], list[tuple[str, PluginError]]]:
    """place → plugin, faults of options, and plugins that cannot be used, by place."""
    selected: dict[str, Selected] = {}
    faults: list[tuple[str, str]] = []
    errors: list[tuple[str, PluginError]] = []
    for place, choice in choices.items():
        kind = Kind.HOOK if place.startswith("hooks.") else Kind(place)
        if kind is Kind.EMBEDDING and choice.name == NO_EMBEDDING:
            faults += [(f"{place}.{option}", "is an option, and `none` has none") for option in choice.options]
            continue
        try:
            record = select(index, kind, choice.name, block=block, allow_dists=allow_dists)
            plugin = load_plugin(record)
            selected[place] = Selected(record, plugin, validate(record, plugin, choice.options_for(plugin), place))
        except ConfigError as error:
            faults += error.faults
        except PluginError as error:
            errors.append((place, error))
    return selected, faults, errors


def _preferred_embedding(
    executor: Selected, block: Collection[str], allow_dists: Collection[str] | None, index: Index
) -> dict[str, PluginChoice]:
    """The backend of a job that names none: the first that the executor prefers and that may be selected."""
    assert issubclass(executor.plugin, Executor)
    for name in executor.plugin.embeddings:
        if any(not forbidden(record, block, allow_dists) for record in index.find(Kind.EMBEDDING, name)):
            return {Kind.EMBEDDING.value: PluginChoice(name=name)}
    return {}


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
            yield place, parse_choice(entry)
        except ValueError:
            continue


def _fingerprint_of(selected: Selected) -> dict[str, Any]:
    """Name and options, without the options that a checkpoint does not depend on."""
    fields = type(selected.options).model_fields
    extras = {name: field.json_schema_extra for name, field in fields.items()}
    free = {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("fingerprint") is False}
    return {name: value for name, value in selected.to_dict().items() if name not in free}
