from .explanation import explanation_document as explanation_document
from .inventory import count_rows as count_rows
from .inventory import space_document as space_document
from .rows import (
    NO_LATENCY as NO_LATENCY,
)
from .rows import (
    SIMULATED as SIMULATED,
)
from .rows import (
    STUDY_COLUMNS as STUDY_COLUMNS,
)
from .rows import (
    Row as Row,
)
from .rows import (
    compilation_row as compilation_row,
)
from .rows import (
    doubtful_rows as doubtful_rows,
)
from .rows import (
    latency_row as latency_row,
)
from .rows import (
    scenario_rows as scenario_rows,
)
from .rows import (
    sensitivity_rows as sensitivity_rows,
)
from .rows import (
    study_rows as study_rows,
)
