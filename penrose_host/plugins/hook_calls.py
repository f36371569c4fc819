"""Calls the lifecycle hooks through pluggy: observers one by one, gates all asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pluggy

from penrose_host.contracts.hooks import Deny, HookPlugin, HookSpecs, hookimpl
from penrose_host.errors import PluginConflict, PluginIncompatible, described
from penrose_host.plugins.index import Kind

if TYPE_CHECKING:
    from penrose_host.contracts.cluster import ClusterSpec, Role
    from penrose_host.contracts.environment import RunResult
    from penrose_host.contracts.executor import Executor
    from penrose_host.contracts.run_spec import RunSpec

__all__ = ["Failure", "Hooks"]

_GATES = frozenset({"allow_export"})
_ENVIRONMENT = "role_environment"
_NAMES = frozenset(name for name in vars(HookSpecs) if not name.startswith("_"))


@dataclass(frozen=True, slots=True)
class Failure:
    """How often a plugin's observer raised, and what it raised last."""

    count: int
    last_error: Exception


class Hooks:
    """The hook plugins of one run. `on_failure(plugin, hook, error)` is called the first time an observer raises.

    All calls come from one thread.
    """

    def __init__(self, on_failure: Callable[[str, str, Exception], None] | None = None) -> None:
        self._manager = pluggy.PluginManager(hookimpl.project_name)
        self._manager.add_hookspecs(HookSpecs)
        self._on_failure = on_failure
        self._denials: list[tuple[str, str]] = []
        self._variables: list[tuple[str, Mapping[str, str]]] = []
        #: (plugin, hook) → what went wrong there.
        self.failures: dict[tuple[str, str], Failure] = {}

    def register(self, name: str, plugin: HookPlugin | SimpleNamespace) -> None:
        """Add a plugin under the name the job gives it. Raises `PluginIncompatible` for what can never be called."""
        if wrong := self._unusable(plugin):
            raise _incompatible(name, plugin, wrong)
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise _incompatible(name, plugin, str(error)) from error
        for caller in self._manager.get_hookcallers(plugin) or ():
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    function: Any = implementation.function
                    if caller.name == _ENVIRONMENT:
                        implementation.function = self._kept(name, function)  # type: ignore[misc]
                        continue
                    guard = self._guard_wrapper if implementation.wrapper else self._guard
                    implementation.function = guard(name, caller.name, function)  # type: ignore[misc]

    def register_executor(self, name: str, executor: Executor) -> None:
        """An executor gives variables of its role too, where it has the hook. Raises `PluginIncompatible`."""
        if hasattr(type(executor), _ENVIRONMENT):
            self.register(f"executor {name}", SimpleNamespace(**{_ENVIRONMENT: getattr(executor, _ENVIRONMENT)}))

    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> dict[str, str]:
        """The variables that plugins want for this role. Raises PluginConflict, and what a plugin raises."""
        self._variables = []
        self._manager.hook.role_environment(role=role, index=index, cluster=cluster)
        found: dict[str, tuple[str, str]] = {}
        for plugin, variables in self._variables:
            for name, value in variables.items():
                other, theirs = found.setdefault(name, (plugin, value))
                if theirs != value:
                    raise PluginConflict(
                        f"{other} and {plugin} give the variable {name} different values: {theirs!r}, {value!r}",
                        plugin=plugin,
                        hint=f"use one of them: {other}, or {plugin}",
                    )
        return {name: value for name, (_, value) in found.items()}

    # -- observers -------------------------------------------------------------------------------

    def run_started(self, spec: RunSpec, run_dir: Path) -> None:
        self._manager.hook.run_started(spec=spec, run_dir=run_dir)

    def run_ended(self, result: RunResult | None, error: BaseException | None) -> None:
        self._manager.hook.run_ended(result=result, error=error)

    def reported(self, metrics: Mapping[str, Any]) -> None:
        self._manager.hook.reported(metrics=MappingProxyType(dict(metrics)))

    def checkpoint_written(self, checkpoint: str) -> None:
        self._manager.hook.checkpoint_written(checkpoint=checkpoint)

    def checkpoint_restored(self, checkpoint: str) -> None:
        self._manager.hook.checkpoint_restored(checkpoint=checkpoint)

    def exported(self, directory: Path, metrics: Mapping[str, Any], run_dir: Path | None = None) -> None:
        """`run_dir`: the folder that `directory` stands in, where it is not given."""
        frozen = MappingProxyType(dict(metrics))
        self._manager.hook.exported(directory=directory, metrics=frozen, run_dir=run_dir or directory.parent)

    # -- gates -----------------------------------------------------------------------------------

    def allow_export(
        self, directory: Path, metrics: Mapping[str, Any], run_dir: Path | None = None
    ) -> list[tuple[str, str]]:
        """(plugin, reason) of each gate that denies; empty: go ahead. A gate that raises denies.

        `run_dir`: the folder that `directory` stands in, where it is not given.
        """
        self._denials = []
        frozen = MappingProxyType(dict(metrics))
        self._manager.hook.allow_export(directory=directory, metrics=frozen, run_dir=run_dir or directory.parent)
        return self._denials

    # -- guards around what plugins wrote --------------------------------------------------------

    def _unusable(self, plugin: object) -> str | None:
        """Why pluggy would take the plugin and yet not call it as its author meant."""
        marked = {}
        for name in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, name)
            if options is not None:
                marked[name] = options
            elif name in _NAMES:
                return f"{name} is the name of a hook and not marked with @hookimpl"
        if not marked:
            return "no method is marked with @hookimpl"
        for name, options in marked.items():
            if options.get("wrapper") and name == _ENVIRONMENT:
                return f"{name} cannot be a wrapper: it answers for itself"
            if options.get("hookwrapper"):
                return f"{name} is a wrapper of the old kind (hookwrapper=True): use wrapper=True"
        return None

    def _failed(self, plugin: str, hook: str, error: Exception) -> None:
        if hook in _GATES:
            self._denials.append((plugin, f"the gate raised {described(error)}"))
            return
        count = self.failures[plugin, hook].count if (plugin, hook) in self.failures else 0
        if count == 0 and self._on_failure is not None:
            self._on_failure(plugin, hook, error)
        # Without its traceback: that would keep the frames, and all they hold, for the rest of the run.
        self.failures[plugin, hook] = Failure(count + 1, error.with_traceback(None))

    def _kept(self, plugin: str, function: Callable[..., Mapping[str, str] | None]) -> Callable[..., None]:
        """The implementation of `role_environment`: its answer is kept, and what it raises passes."""

        def kept(*arguments: object) -> None:
            variables = function(*arguments) or {}
            if not all(isinstance(text, str) for pair in variables.items() for text in pair):
                raise PluginIncompatible(
                    f"{plugin}: {_ENVIRONMENT} gave {variables!r:.200}, which is not text by name",
                    plugin=plugin,
                    hint="its author has to return a mapping of text to text",
                )
            self._variables.append((plugin, variables))

        return kept

    def _guard(self, plugin: str, hook: str, function: Callable[..., object]) -> Callable[..., None]:
        """The implementation, made unable to raise; its answer is kept if it is a gate's."""

        def guarded(*arguments: object) -> None:
            try:
                answer = function(*arguments)
            except Exception as error:
                self._failed(plugin, hook, error)
                return
            if hook in _GATES and answer is not None:
                reason = answer.reason if isinstance(answer, Deny) else f"answered {answer!r}, neither Deny nor None"
                self._denials.append((plugin, reason))

        return guarded

    def _guard_wrapper(
        self, plugin: str, hook: str, function: Callable[..., Generator[None, object, object]]
    ) -> Callable[..., Generator[None, object, None]]:
        """The same for a wrapper: it may watch, but neither stop the hook nor change its outcome."""

        def guarded(*arguments: object) -> Generator[None, object, None]:
            with closing(function(*arguments)) as wrapper:
                try:
                    next(wrapper)
                except Exception as error:
                    self._failed(plugin, hook, error)
                    yield
                    return
                result = yield
                try:
                    wrapper.send(result)
                except StopIteration:
                    return
                except Exception as error:
                    self._failed(plugin, hook, error)
                else:
                    self._failed(plugin, hook, RuntimeError("the wrapper yields more than once"))

        return guarded


def _incompatible(name: str, plugin: object, what: str) -> PluginIncompatible:
    return PluginIncompatible(
        f"hook plugin {name!r} ({type(plugin).__module__}:{type(plugin).__qualname__}): {what}",
        plugin=name,
        kind=Kind.HOOK,
        hint=f"the hooks are: {', '.join(sorted(_NAMES))}",
    )
