"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what to type next.

    `code` names its kind for programs; a `note` is worth knowing and no reason to call the installation unhealthy.
    """

    code: str
    subject: str
    message: str
    hint: str
    note: bool = False
    #: Where it was raised, if anything was.
    traceback: str | None = None
