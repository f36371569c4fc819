"""Checkpoints: one instant of a run, made of files of several roles, and real only once its manifest is.

::

    checkpoints/
        epochs/00000002.json     who starts or resumes the run claims the next epoch, and says after which checkpoint
        00000012-e2/             number and epoch: two processes never write into one folder
            chief-0/…            the files of one role (its fragment)
            chief-0/fragment.json
            manifest.json        written last: every file of every fragment, with length and digest
        LATEST                   the last id whose manifest was written (tells a lost manifest from an unfinished one)
"""

from penrose_host.checkpoints.background import Checkpointer
from penrose_host.checkpoints.fragments import FragmentWriter
from penrose_host.checkpoints.manifest import CheckpointInfo, Manifest
from penrose_host.checkpoints.retention import Retention
from penrose_host.checkpoints.store import Checkpoint, CheckpointStore

__all__ = [
    "Checkpoint",
    "CheckpointInfo",
    "CheckpointStore",
    "Checkpointer",
    "FragmentWriter",
    "Manifest",
    "Retention",
]
