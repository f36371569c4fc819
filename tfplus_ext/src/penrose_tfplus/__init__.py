"""Dynamic embedding tables: int64 keys, float32 rows, their optimizers and their checkpoints, native.

`Table` is the NumPy face; `penrose_tfplus.torch` has modules for PyTorch; the host finds the backend `tfplus`
by its entry point.
"""

from penrose_tfplus.hashing import hash_strings
from penrose_tfplus.table import BadGradient, Table, TableFull, initializers, instruction_set, optimizers
from penrose_tfplus.table_options import TableOptions

__all__ = [
    "BadGradient",
    "Table",
    "TableFull",
    "TableOptions",
    "hash_strings",
    "initializers",
    "instruction_set",
    "optimizers",
]
