"""One verb a file: set up, measure, train, decide, profile, compile, add a phone, plan, run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
