from __future__ import annotations

from executor_suite.entry_module import EntryModule

from penrose_host import ClusterSpec, Role
from penrose_torch.executor import TorchExecutor


class TestEntryModule(EntryModule):
    """Of the executor that this folder's `lab` makes."""


def test_several_training_processes_get_what_torch_distributed_reads():
    executor = TorchExecutor(TorchExecutor.Options())
    cluster = ClusterSpec({Role.CHIEF: ("one:1",), Role.WORKER: ("two:2", "three:3"), Role.PS: ("four:4",)})
    assert executor.role_environment(Role.WORKER, 1, cluster) == {
        "MASTER_ADDR": "one", "MASTER_PORT": "1", "RANK": "2", "WORLD_SIZE": "3",
    }  # fmt: skip
    assert executor.role_environment(Role.PS, 0, cluster) == {}
    assert executor.role_environment(Role.CHIEF, 0, ClusterSpec.single()) == {}
