"""Decoders: the bytes of messages → Arrow columns, by whole batches. For any datasource whose records are messages.

Imported when first used: options are checked without pyarrow.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
