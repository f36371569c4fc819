"""The error of everything that goes wrong with a broker for development."""

from __future__ import annotations

from penrose_host import PluginError

__all__ = ["broker_error"]


def broker_error(message: str, hint: str | None = None) -> PluginError:
    """An error of the command `penrose kafka`."""
    return PluginError(message, plugin="kafka", kind="command", dist="penrose-kafka", hint=hint)
