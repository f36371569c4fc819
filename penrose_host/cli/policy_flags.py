"""`--block` and `--allow-dist`: which of the installed plugins a command may use."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from penrose_host.errors import ConfigError

if TYPE_CHECKING:
    from penrose_host.plugins.selection import SelectionPolicy

__all__ = ["add_restrictions", "policy_of"]


def add_restrictions(parser: argparse._ActionsContainer, *, nested: bool = False) -> None:
    """`--block` and `--allow-dist`. `nested`: in a subcommand of a command that has them too; they add up."""
    prefix = "nested_" if nested else ""
    parser.add_argument(
        "--block",
        metavar="NAME",
        dest=f"{prefix}block",
        action="append",
        default=[],
        help="never use this plugin (NAME, or DIST:NAME); may be repeated; also PENROSE_BLOCK=NAME,NAME",
    )
    parser.add_argument(
        "--allow-dist",
        metavar="DIST",
        dest=f"{prefix}allow_dist",
        action="append",
        default=[],
        help="use plugins of this distribution, and of others so named, only; also PENROSE_ALLOW_DIST=DIST,DIST",
    )


def policy_of(options: argparse.Namespace) -> SelectionPolicy:
    """What `--block` and PENROSE_BLOCK together forbid, and `--allow-dist`, or else PENROSE_ALLOW_DIST, allows.

    `options` of a command without these flags: the variables alone. Raises ConfigError.
    """
    from penrose_host.plugins.selection import SelectionPolicy

    given = vars(options)
    block, allow = ([*given.get(flag, ()), *given.get(f"nested_{flag}", ())] for flag in ("block", "allow_dist"))
    return SelectionPolicy([*block, *_listed("PENROSE_BLOCK")], allow or _listed("PENROSE_ALLOW_DIST") or None)


def _listed(variable: str) -> list[str]:
    """The names in a variable; none where it is not set, or empty. Raises ConfigError for commas without a name."""
    text = os.environ.get(variable, "").strip()
    found = [entry.strip() for entry in text.split(",") if entry.strip()]
    if text and not found:
        raise ConfigError([(variable, f"names nothing: {text!r}")], hint=f"{variable}=NAME,NAME; or unset {variable}")
    return found
