"""Flags that several commands share."""

from __future__ import annotations

import argparse
import os

from penrose_host.errors import ConfigError

__all__ = ["add_option", "add_restrictions", "add_traceback", "allowed_dists", "blocked"]


def add_traceback(parser: argparse._ActionsContainer) -> None:
    """`--traceback`, which every command has."""
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")


def add_option(parser: argparse._ActionsContainer, example: str) -> None:
    """`-o`, for commands that take values of a job."""
    parser.add_argument(
        "-o", "--option", metavar="A.B=VALUE", action="append", default=[], help=f"set one value, as in {example}"
    )


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


def blocked(options: argparse.Namespace) -> list[str]:
    """What `--block` and PENROSE_BLOCK forbid; one adds to the other."""
    return [*options.block, *getattr(options, "nested_block", ()), *_listed("PENROSE_BLOCK")]


def allowed_dists(options: argparse.Namespace) -> list[str] | None:
    """What `--allow-dist`, or else PENROSE_ALLOW_DIST, allows; None: everything."""
    flags = [*options.allow_dist, *getattr(options, "nested_allow_dist", ())]
    return flags or _listed("PENROSE_ALLOW_DIST") or None


def _listed(variable: str) -> list[str]:
    """The names in a variable; none where it is not set, or empty. Raises ConfigError for commas without a name."""
    text = os.environ.get(variable, "").strip()
    found = [entry.strip() for entry in text.split(",") if entry.strip()]
    if text and not found:
        raise ConfigError([(variable, f"names nothing: {text!r}")], hint=f"{variable}=NAME,NAME; or unset {variable}")
    return found
