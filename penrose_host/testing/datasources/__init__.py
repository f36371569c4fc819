"""The contract of datasources."""

from penrose_host.testing.datasources.ends import EndPromises
from penrose_host.testing.datasources.opening import OpeningPromises
from penrose_host.testing.datasources.positions import PositionPromises
from penrose_host.testing.datasources.rows import RowPromises
from penrose_host.testing.datasources.runs import RunPromises

__all__ = ["DataSourceContract"]


class DataSourceContract(RunPromises, OpeningPromises, EndPromises, PositionPromises, RowPromises):
    """Derive a test class from it, and return a source of a small stream from `make`."""
