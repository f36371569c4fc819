"""Publishes the rows of any datasource through a sink: `penrose replay`."""

from penrose_host.replay.pace import Pace
from penrose_host.replay.plan import Plan, load_plan
from penrose_host.replay.publisher import Replayed, replay

__all__ = ["Pace", "Plan", "Replayed", "load_plan", "replay"]
