"""The other side of `probing`: imports one plugin, writes down what came of it, and ends at once."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from penrose_host.errors import PluginError, PluginIncompatible
from penrose_host.plugins.index import Kind, Record
from penrose_host.plugins.loading import load, load_command
from penrose_host.storage.durable_files import write_atomic

__all__ = ["main"]


def main(request: Mapping[str, Any]) -> NoReturn:
    """Answer `request` (`record`, `answer`: the file to write)."""
    fields = request["record"]
    record = Record(**{**fields, "kind": Kind(fields["kind"])})
    own = {"penrose_host", record.target.partition(":")[0].partition(".")[0]}
    before = set(sys.modules)
    began = time.perf_counter()
    answer: dict[str, Any]
    try:
        if record.kind is Kind.COMMAND:
            load_command(record)
            answer = {"code": "ok"}
        else:
            answer = {"code": "ok", "api_version": load(record).api_version}
    except PluginError as error:
        answer = {"code": "broken", "message": error.message, "traceback": traceback.format_exc()}
        if isinstance(error, PluginIncompatible):
            answer |= {"code": "incompatible", "hint": error.hint}
    answer["seconds"] = round(time.perf_counter() - began, 4)
    answer["imports"] = sorted(_packages(set(sys.modules) - before) - own)
    write_atomic(Path(request["answer"]), json.dumps(answer).encode())
    # What the plugin may have left to run (threads, exit handlers) is not waited for.
    os._exit(0)


def _packages(modules: set[str]) -> set[str]:
    """The top-level packages of these modules, without the standard library and what was made up on the way."""
    tops = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    return {name for name in tops if getattr(sys.modules.get(name), "__spec__", None) is not None}
