"""What trainings say of shapes: scores, their order, and how sure it is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
