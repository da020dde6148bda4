from .childprocess import (
    KILLED as KILLED,
)
from .childprocess import (
    Child as Child,
)
from .childprocess import (
    Report as Report,
)
from .childprocess import (
    ask as ask,
)
from .childprocess import (
    why_it_ended as why_it_ended,
)
from .cores import usable_cores as usable_cores
from .crew import share as share
from .serving import answer_once as answer_once
from .serving import serve as serve
