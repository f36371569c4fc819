"""Embedding tables: how keys become rows and first values, and what every optimizer of rows may be told.

The built-in backend `hashing` is here too; it is selected by name like any other.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
