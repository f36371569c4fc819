"""Hook plugins listen to a run: their hooks are called for the events that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from penrose_host.monitoring.events import (
    CheckpointWritten,
    Event,
    Events,
    Exported,
    HookFailed,
    Opened,
    Reported,
    RunEnded,
    RunStarted,
)
from penrose_host.plugins.hook_calls import Hooks

if TYPE_CHECKING:
    from penrose_host.plugins.selected import Selected

__all__ = ["listening_hooks"]


def listening_hooks(selected: Iterable[Selected], events: Events) -> Hooks:
    """The job's hook plugins, made and listening; what they raise is told. Raises PluginError."""
    hooks = Hooks(on_failure=lambda plugin, hook, error: events.tell(HookFailed(plugin, hook, error)))
    for hook in selected:
        hooks.register(hook.record.name, hook.create())

    def call(event: Event) -> None:
        match event:
            case Opened(checkpoint=str(checkpoint)):
                hooks.checkpoint_restored(checkpoint)
            case RunStarted(spec):
                hooks.run_started(spec, spec.run_dir)
            case Reported(report):
                hooks.reported(report)
            case CheckpointWritten(checkpoint):
                hooks.checkpoint_written(checkpoint)
            case Exported(directory, metrics, run_dir):
                hooks.exported(directory, metrics, run_dir)
            case RunEnded(result, error):
                hooks.run_ended(result, error)

    events.add(call)
    return hooks
