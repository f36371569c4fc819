"""`penrose export`: the servable model of a checkpoint."""

from __future__ import annotations

import argparse

from penrose_host.cli.job_flags import add_job, add_log_format, add_output, load_job, log_format
from penrose_host.cli.table import table

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose export`."""
    add_job(parser)
    how = parser.add_argument_group("this export")
    add_output(
        how,
        output="the folder to write",
        purpose="export",
        replace="let what is in DIR give way once the export is complete",
    )
    add_log_format(how)
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    format = log_format(options)
    resolved = load_job(options)
    from penrose_host.monitoring.terminal import Terminal
    from penrose_host.plugins.attribution import attributed
    from penrose_host.training.export_command import export_checkpoint

    terminal, chosen = Terminal(format), options.checkpoint
    with attributed(resolved.plugins):
        exported = export_checkpoint(
            resolved, options.output, checkpoint=chosen, replace=options.replace, listeners=[terminal]
        )
    print(f"checkpoint {exported.checkpoint} ({exported.rows:,} rows) is exported to {exported.directory}")
    print(table(["BYTES", "FILE"], [[f"{size:,}", name] for name, size in exported.files.items()]))
    return 0
