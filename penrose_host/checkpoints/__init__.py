"""Checkpoints: one instant of a run, made of files of several roles, and real only once its manifest is.

::

    checkpoints/
        epochs/00000002.json     each life of the run claims the next epoch, and says where it resumed
        00000012-e2/             sequence and epoch: two processes never write into one folder
            chief-0/…            the files of one role (its fragment)
            chief-0/fragment.json
            manifest.json        written last: every file of every fragment, with length and digest
        LATEST                   the last id whose manifest was written (tells a lost manifest from an unfinished one)
"""

from penrose_host.checkpoints.background import Checkpointer
from penrose_host.checkpoints.fragments import FragmentWriter
from penrose_host.checkpoints.manifest import CheckpointInfo, Manifest
from penrose_host.checkpoints.store import Checkpoint, CheckpointStore

__all__ = ["Checkpoint", "CheckpointInfo", "CheckpointStore", "Checkpointer", "FragmentWriter", "Manifest"]
