"""The contract of environments."""

from __future__ import annotations

from pathlib import Path

from penrose_host.config.resolve import Resolved
from penrose_host.contracts.environment import Environment, RunResult
from penrose_host.contracts.executor import FeatureSpec
from penrose_host.errors import SourceError
from penrose_host.testing.executors.comparing import difference
from penrose_host.testing.jobs import last_checkpoint, predictions, run_job, small_job, state
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.toys import ToySource

__all__ = ["EnvironmentContract"]

_SPEC = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click",))
_PARTS = ("executor", "trainer", "metrics")
_PARTITIONS, _ROWS = 3, 40


class EnvironmentContract(PluginContract):
    """Derive a test class from it, and return your environment from `make`; it runs small jobs of toys."""

    def make(self) -> Environment:
        """A new environment that can run a job of one process."""
        found: Environment = super().make()
        return found

    @promise
    def test_a_job_runs_to_its_end(self, tmp_path: Path) -> None:
        """`run` returns the chief's result at the stream's end: all rows scored once, the last checkpoint whole."""
        result = run_job(_job(tmp_path / "run", self.make()))
        rows = _PARTITIONS * _ROWS
        if not isinstance(result, RunResult) or (result.reason, result.rows) != ("end-of-stream", rows):
            raise Broken(f"a job of {rows} rows gave {result!r}.", "return what `runtime.run_role` gave for the chief.")
        scored = predictions(tmp_path / "run")
        if scored != {f"p{number}": list(range(_ROWS)) for number in range(_PARTITIONS)}:
            counts = {name: len(offsets) for name, offsets in scored.items()}
            raise Broken(f"of {_ROWS} rows in each partition {counts} were scored.", "run each role once.")
        checkpoint = last_checkpoint(tmp_path / "run").manifest.id
        if result.checkpoint != checkpoint:
            raise Broken(
                f"the result names checkpoint {result.checkpoint}, the last one is {checkpoint}.",
                "pass it on as it is.",
            )

    @promise
    def test_a_job_ends_like_in_one_process(self, tmp_path: Path) -> None:
        """A job ends with the same model, metrics and waiting rows, to the byte, as in the environment `local`."""
        run_job(_job(tmp_path / "here", self.make()))
        run_job(_job(tmp_path / "local", None))
        if seen := difference(state(tmp_path / "local", _PARTS), state(tmp_path / "here", _PARTS)):
            raise Broken(f"in the last checkpoint {seen}.", "leave the job, its seed and its rows as they are.")

    @promise
    def test_a_job_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        """A job that stopped, and is run again in a new environment, ends like one that never stopped."""
        run_job(_job(tmp_path / "stopped", self.make(), stop_at=50))
        first = last_checkpoint(tmp_path / "stopped").manifest
        run_job(_job(tmp_path / "stopped", self.make()))
        if last_checkpoint(tmp_path / "stopped").manifest.epoch <= first.epoch:
            raise Broken(f"the job did not go on from checkpoint {first.id}.", "keep the run directory of the job.")
        run_job(_job(tmp_path / "straight", self.make()))
        if seen := difference(state(tmp_path / "straight", _PARTS), state(tmp_path / "stopped", _PARTS)):
            raise Broken(f"in the last checkpoint {seen}.", "leave to the host where a job goes on.")

    @promise
    def test_an_error_reaches_the_caller(self, tmp_path: Path) -> None:
        """What ends a role early is raised from `run`, as what it was, and the checkpoints before it are kept."""
        error = raised_by(lambda: run_job(_job(tmp_path / "run", self.make(), fail_at=_ROWS - 1)))
        if not isinstance(error, SourceError) or "told to fail" not in str(error):
            raise Broken(
                f"a source raised SourceError in the middle of the job, and `run` {told(error)}.",
                "let errors of a role pass, or raise them again on this side.",
            )
        last_checkpoint(tmp_path / "run")
        run_job(_job(tmp_path / "run", self.make()))
        run_job(_job(tmp_path / "straight", self.make()))
        if seen := difference(state(tmp_path / "straight", _PARTS), state(tmp_path / "run", _PARTS)):
            raise Broken(
                f"after the error the job was run again: in its last checkpoint {seen}.", "keep the run's files."
            )


def _job(
    run_dir: Path, environment: Environment | None, *, fail_at: int | None = None, stop_at: int | None = None
) -> Resolved:
    source = ToySource.of(_SPEC, partitions=_PARTITIONS, rows=_ROWS, fail_at=fail_at)
    return small_job(run_dir, environment=environment, datasource=source, spec=_SPEC, until={"rows": stop_at})
