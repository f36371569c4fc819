"""`penrose predict`: scores a stream with a checkpoint."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penrose_host.cli.job_flags import add_job, add_log_format, add_output, load_job, log_format

if TYPE_CHECKING:
    from penrose_host.training.scoring import Scored

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `penrose predict`."""
    add_job(parser)
    how = parser.add_argument_group("the predictions")
    add_output(
        how,
        output="the folder for the Parquet files",
        purpose="score with",
        replace="replace the predictions that are in DIR",
    )
    add_log_format(how)
    parser.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    format = log_format(options)
    resolved = load_job(options)
    from penrose_host.monitoring.events import Noted
    from penrose_host.monitoring.terminal import Terminal
    from penrose_host.plugins.attribution import attributed
    from penrose_host.training.scoring import score

    terminal, chosen = Terminal(format), options.checkpoint
    with attributed(resolved.plugins):
        scored = score(resolved, options.output, checkpoint=chosen, replace=options.replace, listeners=[terminal])
    facts = {"reason": scored.reason, "rows": scored.rows, "bad_rows": scored.bad_rows, "output": str(scored.output)}
    terminal(Noted("ended", _summary(scored), {**facts, **scored.metrics}))
    return 0


def _summary(scored: Scored) -> str:
    why = {"end-of-stream": "the stream has ended", "until": "reached --until", "signal": "stopped by a signal"}
    bad = f", {scored.bad_rows:,} bad" if scored.bad_rows else ""
    lines = [f"{why[scored.reason]}: {scored.rows:,} rows scored{bad}, in {scored.output}"]
    if scored.metrics["labelled_rows"]:
        known = {name: scored.metrics[name] for name in ("auc", "log_loss", "calibration")}
        auc, loss, calibration = ("–" if value is None else f"{value:.4f}" for value in known.values())
        rows = f"of {scored.metrics['labelled_rows']:,} rows with a label"
        lines.append(f"{rows}: auc {auc} · log loss {loss} · calibration {calibration}")
    return "\n".join(lines)
