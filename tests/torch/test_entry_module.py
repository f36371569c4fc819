from __future__ import annotations

from executor_suite.entry_module import EntryModule


class TestEntryModule(EntryModule):
    """Of the executor that this folder's `lab` makes."""
