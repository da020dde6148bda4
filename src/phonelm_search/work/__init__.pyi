from .childprocess import (
    KILLED as KILLED,
)
from .childprocess import (
    answer_once as answer_once,
)
from .childprocess import (
    ask as ask,
)
from .childprocess import (
    die_with_parent as die_with_parent,
)
from .childprocess import (
    why_it_ended as why_it_ended,
)
from .crew import share as share
