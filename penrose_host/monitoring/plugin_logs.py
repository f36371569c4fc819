"""What plugins log to `logging.getLogger("penrose.NAME")` becomes events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from penrose_host.monitoring.events import Events, Logged

__all__ = ["plugin_logs"]


@contextmanager
def plugin_logs(events: Events) -> Iterator[None]:
    """Meanwhile, whatever is logged there from level INFO on is told."""
    logger, handler = logging.getLogger("penrose"), _Handler(events)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Handler(logging.Handler):
    """Hands on what is logged."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        self._events.tell(Logged(record.name.removeprefix("penrose."), record.levelname, self.format(record)))
