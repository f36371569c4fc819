"""Features: columns → ids, numbers, labels and times; what a job says of them, also for whoever serves a model."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
