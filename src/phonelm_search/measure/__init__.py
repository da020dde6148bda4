"""The measuring protocol: what is run, what the samples say, how far to trust them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
