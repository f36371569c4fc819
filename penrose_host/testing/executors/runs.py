"""The promise of whole runs: the executor under the host's own loop."""

from __future__ import annotations

from pathlib import Path

from penrose_host.testing.executors.base import ExecutorChecks
from penrose_host.testing.executors.comparing import difference
from penrose_host.testing.jobs import run_job, small_job, state
from penrose_host.testing.promises import Broken, promise

__all__ = ["RunPromises"]


class RunPromises(ExecutorChecks):
    """What holds from the first row to the last checkpoint."""

    @promise
    def test_a_run_stopped_and_resumed_ends_like_one_that_never_stopped(self, tmp_path: Path) -> None:
        """A run that was stopped and started again ends with the state, to the byte, of one that never stopped."""
        ends = []
        for name, stops in (("straight", [None]), ("stopped", [50, None])):
            for rows in stops:
                job = small_job(
                    tmp_path / name,
                    executor=self.make(),
                    embedding=self.backend(),
                    spec=self.features,
                    until={"rows": rows},
                )
                run_job(job)
            ends.append(state(tmp_path / name, ["executor", "trainer", "metrics"]))
        if seen := difference(*ends):
            raise Broken(
                f"in the last checkpoint {seen}.",
                "put everything that decides the next step into the snapshot, and nothing that depends on the clock.",
            )
