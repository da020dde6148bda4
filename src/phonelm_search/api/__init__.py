"""The commands as functions, for notebooks and scripts: pandas frames, matplotlib figures, paths.

Each function has the options and the defaults of its command; those of groups are called by verb
and noun: ``studies list`` is `list_studies`. Frames have the columns that ``--json`` and the CSV
files have. All that read or write studies take ``results``, the folder of the database and of the
studies' files, and ``storage``, the URL of another database. All raise `PhonelmSearchError` as the
command would print it. ``logging.basicConfig(level="INFO")`` shows what stages tell.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
