"""Attribution: an exception that came out of a plugin's code, and is no error of Penrose's own, names the plugin."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import takewhile
from types import FrameType
from typing import TYPE_CHECKING

from penrose_host.errors import PenroseError, PluginBroken, described
from penrose_host.plugins.index import Kind, Record

if TYPE_CHECKING:
    from penrose_host.plugins.selected import Selected

__all__ = ["attributed", "attributed_to"]

_HOST = "penrose_host"


@contextmanager
def attributed(selected: Collection[Selected]) -> Iterator[None]:
    """What these plugins raise inside, and is no error of Penrose's own, becomes PluginBroken; the cause is chained.

    An exception that none of them has to do with stays what it is.
    """
    try:
        yield
    except PenroseError:
        raise
    except Exception as error:
        if (found := _plugin_that_raised(error, selected)) is None:
            raise
        plugin, where = found
        raise _broken(plugin.record, error, where) from error


@contextmanager
def attributed_to(record: Record) -> Iterator[None]:
    """Whatever is raised inside, and is no error of Penrose's own, becomes PluginBroken of this plugin."""
    try:
        yield
    except (PenroseError, BrokenPipeError):
        raise
    except Exception as error:
        *_, innermost = traceback.walk_tb(error.__traceback__)
        raise _broken(record, error, _where(*innermost, innermost)) from error


def _broken(record: Record, error: Exception, where: str) -> PluginBroken:
    return PluginBroken(f"{record.title} raised {described(error)}\n  {where}", hint=_hint(error), **record.names)


def _plugin_that_raised(error: Exception, selected: Collection[Selected]) -> tuple[Selected, str] | None:
    """The plugin whose code was running, and where in it; the innermost where one has called another."""
    frames = list(traceback.walk_tb(error.__traceback__))[::-1]
    for frame, line in frames:
        for plugin in selected:
            # An environment has the whole run inside it, and is seen below.
            if plugin.record.kind is not Kind.ENVIRONMENT and isinstance(frame.f_locals.get("self"), plugin.plugin):
                return plugin, _where(frame, line, frames[0])
    # What is no plugin's method: a table, a function, an environment, as long as they have not called the host.
    for frame, line in takewhile(lambda found: _package(found[0]) != _HOST, frames):
        for plugin in selected:
            package = plugin.record.target.partition(":")[0].partition(".")[0]
            if isinstance(frame.f_locals.get("self"), plugin.plugin) or _package(frame) == package:
                return plugin, _where(frame, line, frames[0])
    return None


def _hint(error: Exception) -> str:
    if any(_package(frame) == "importlib" for frame, _ in traceback.walk_tb(error.__traceback__)):
        # A library that looks for plugins of its own reads the metadata of every distribution there is.
        return (
            "if the metadata of a distribution is damaged, penrose doctor names it; to see all of it, add --traceback"
        )
    return "to see all of it, add --traceback to the command"


def _where(frame: FrameType, line: int, innermost: tuple[FrameType, int]) -> str:
    file, raised_in = frame.f_code.co_filename, innermost[0].f_code.co_filename
    raised = f" (raised at {raised_in}:{innermost[1]})" if raised_in != file else ""
    return f"{file}:{line}, in {frame.f_code.co_qualname}{raised}"


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
