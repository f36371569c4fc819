"""The rows of a run, pushed by an engine that fails and comes back, end in the bytes of the run that pulled them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_jobs import FILES, ROWS, TORCH, check_same_end, tables, write_job
from fault_runs import Workplace

from penrose_host import Chunk, EndOfStream, HostRuntime, Position
from penrose_host.config.resolve import load
from penrose_host.datasources.files.options import FilesOptions
from penrose_host.datasources.files.source import FilesSource

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture(scope="module")
def pulled(workplace: Workplace, data: Path) -> Path:
    job = write_job(workplace.folder / "pulled.yaml", data, workplace.folder / "pulled", **TORCH)
    workplace.penrose("run", job).check()
    return job


def pieces(data: Path, seed: int) -> Iterator[Chunk]:
    """All rows in chunks of any length; partitions take turns at random."""
    draw = random.Random(seed)
    waiting = {name: list(read(data, name)) for name in FILES}
    while waiting:
        name = draw.choice(sorted(waiting))
        batch = waiting[name].pop(0)
        if not waiting[name]:
            del waiting[name]
        cut = draw.randint(0, batch.num_rows)
        for part in (batch.slice(0, cut), batch.slice(cut)):
            if part.num_rows:
                yield Chunk(part)


def read(data: Path, partition: str) -> Iterator[object]:
    source = stream(data)
    source.open({partition: None})
    try:
        while True:
            chunk = source.read(450, 1.0)
            assert chunk is not None
            yield chunk.batch
    except EndOfStream:
        source.close()


def stream(data: Path) -> FilesSource:
    return FilesSource(FilesOptions(path=[str(data / "*")]))


@pytest.mark.parametrize("fail_at", [(), (3, 40, 41, 100)], ids=["at once", "with failures"])
def test_pushed_rows_end_in_the_same_bytes(
    workplace: Workplace, tmp_path: Path, data: Path, pulled: Path, fail_at: tuple[int, ...]
) -> None:
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", **TORCH)
    source_id = stream(data).source_id
    chunks = list(pieces(data, seed=len(fail_at)))
    committed: str | None = None
    done = 0
    for stop in (*fail_at, None):
        runtime = HostRuntime(load(job))
        with runtime.operator(source_id=source_id, partitions=FILES, resume_from=committed) as operator:
            offsets = dict.fromkeys(FILES, 0)
            for number, chunk in enumerate(chunks):
                offsets[chunk.batch["_partition"][0].as_py()] = chunk.batch["_offset"][-1].as_py() + 1
                if number < done:
                    continue
                if number == stop:
                    break  # what was pushed since the last checkpoint never happened
                operator.process(chunk)
                if number % 9 == 8:
                    operator.snapshot(f"engine-{number}", Position(source_id, dict(offsets)))
                    operator.durable()
                    operator.committed(f"engine-{number}")
                    committed, pushed = f"engine-{number}", number + 1
            else:
                operator.finish()
                operator.snapshot("end", Position(source_id, dict.fromkeys(FILES, ROWS)))
                operator.durable()
        if committed is not None:
            done = pushed
    check_same_end(tmp_path / "run", workplace.folder / "pulled")
    assert tables(job) == tables(pulled)
