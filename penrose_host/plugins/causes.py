"""What a plugin has raised, told on one line of a terminal."""

from __future__ import annotations

__all__ = ["told"]

#: The most characters of an exception's own words.
LENGTH = 500


def told(error: BaseException) -> str:
    """`TypeError: its words`: on one line, printable, cut where they are long."""
    words = " ".join(str(error).split())
    # Control characters would act on the terminal, or on the program that reads the log.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words[:LENGTH])
    if len(words) > LENGTH:
        shown += f" … ({len(words) - LENGTH:,} more characters)"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
