"""A study as it is read, and what is derived from it; never touches a device."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
