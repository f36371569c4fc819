"""Publishes the rows of any datasource through a sink: `penrose replay`."""

from penrose_host.replays.pace import Pace
from penrose_host.replays.plan import Plan, load_plan
from penrose_host.replays.publisher import Replayed, replay

__all__ = ["Pace", "Plan", "Replayed", "load_plan", "replay"]
