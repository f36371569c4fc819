"""What executors share: options and inputs of models over tensors, the user's own code, loops that are not ours."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
