"""The contract of embedding tables and the backends that make them."""

from penrose_host.testing.tables.checkpoints import CheckpointPromises
from penrose_host.testing.tables.lookups import LookupPromises
from penrose_host.testing.tables.steps import StepPromises

__all__ = ["EmbeddingTableContract"]


class EmbeddingTableContract(CheckpointPromises, StepPromises, LookupPromises):
    """Derive a test class from it, and return your embedding backend from `make`."""
