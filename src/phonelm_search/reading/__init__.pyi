from .counts import count_shapes as count_shapes
from .explanation import (
    Explanation as Explanation,
)
from .explanation import (
    Neighbour as Neighbour,
)
from .explanation import (
    explain_shape as explain_shape,
)
from .pick import (
    Pick as Pick,
)
from .pick import (
    Rule as Rule,
)
from .pick import (
    check_rule as check_rule,
)
from .pick import (
    choose as choose,
)
from .pick import (
    current_pick as current_pick,
)
from .pick import (
    score_pairs as score_pairs,
)
from .pick import (
    trust as trust,
)
from .readings import (
    Place as Place,
)
from .readings import (
    Readings as Readings,
)
from .readings import (
    Summaries as Summaries,
)
from .readings import (
    environments as environments,
)
from .regret import (
    Regret as Regret,
)
from .regret import (
    quality_of as quality_of,
)
from .regret import (
    regret_matrix as regret_matrix,
)
from .regret import (
    times_by_device as times_by_device,
)
from .sensitivity import (
    Effect as Effect,
)
from .sensitivity import (
    Sensitivity as Sensitivity,
)
from .sensitivity import (
    analyse as analyse,
)
from .sensitivity import (
    check_count as check_count,
)
from .shortlist import (
    candidates as candidates,
)
from .shortlist import (
    near_front as near_front,
)
from .shortlist import (
    typical_size as typical_size,
)
from .view import (
    FailedShape as FailedShape,
)
from .view import (
    StudyRow as StudyRow,
)
from .view import (
    StudyView as StudyView,
)
from .view import (
    find_row as find_row,
)
from .view import (
    least_coverage as least_coverage,
)
from .view import (
    load_view as load_view,
)
