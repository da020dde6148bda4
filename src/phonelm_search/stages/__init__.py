"""One verb a file: set up, measure, train, decide, profile, compile, add a phone, plan, run.

And what there is to do it on, in `inventory`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
