"""Where there is no memory, training fails with an error that says so, and the table goes on once there is."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

NO_MEMORY = """
    import resource
    import numpy as np
    from penrose_tfplus import Table

    def limit(more):
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))

    table = Table(16, optimizer="adam", initializer="normal", threads={threads})
    keys = np.arange(20_000)
    gradients = np.ones((20_000, 16), np.float32)
    table.lookup(keys, train=True)
    table.apply(keys, gradients)
    before, slots = table.lookup(keys), table.slots(keys)
    failed = 0
    limit({room} << 20)
    for start in range(20_000, 5_000_000, 20_000):
        try:
            if start % 60_000 == 0:
                table.apply(keys + start, gradients)
            elif start % 60_000 == 20_000:
                table.write(keys + start, gradients)
            else:
                table.lookup(keys + start, train=True)
        except MemoryError as error:
            assert str(error) == "there is no memory left for the table"
            failed += 1
            if failed == 6:
                break
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert failed == 6, failed
    np.testing.assert_array_equal(table.lookup(keys), before)
    for name, values in table.slots(keys).items():
        np.testing.assert_array_equal(values, slots[name])
    found = table.keys()
    assert len(found) == len(table) and (np.diff(found) > 0).all()
    assert table.contains(found).all()
    size = len(table)
    more = np.arange(5_000_000, 5_020_000)
    table.lookup(more, train=True)
    table.apply(more, gradients)
    assert len(table) == size + 20_000
    table.apply(keys, gradients)
    assert (table.lookup(keys) != before).all()
    table.delete(found)
    print("survived")
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("room", [4, 33, 150])
def test_without_memory_training_fails_and_the_table_goes_on(threads: int, room: int) -> None:
    code = textwrap.dedent(NO_MEMORY).replace("{threads}", str(threads)).replace("{room}", str(room))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "survived\n"


def test_the_host_is_told_that_there_is_no_memory() -> None:
    code = """
        import resource
        import numpy as np
        from penrose_host.errors import TrainingError
        from penrose_host import TableSpec
        from penrose_tfplus.backend import TfplusBackend

        table = TfplusBackend(TfplusBackend.Options(threads=1)).table(TableSpec("users", 64))
        table.lookup(np.arange(10), train=True)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
        try:
            table.lookup(np.arange(1_000_000), train=True)
        except TrainingError as error:
            print(error, error.hint, sep=chr(10))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "table 'users' (embedding backend tfplus): there is no memory left for the table" in done.stdout
    assert "max_bytes" in done.stdout
