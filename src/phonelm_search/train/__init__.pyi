from .corpus import (
    TokenisedCorpus as TokenisedCorpus,
)
from .corpus import (
    tokenise as tokenise,
)
from .corpus import (
    tokens_file as tokens_file,
)
from .miniature import (
    Candidate as Candidate,
)
from .miniature import (
    make_candidates as make_candidates,
)
from .miniature import (
    too_narrow as too_narrow,
)
from .miniature import (
    width_factor as width_factor,
)
from .pool import Pool as Pool
from .runs import (
    Run as Run,
)
from .runs import (
    TrainingRuns as TrainingRuns,
)
from .runs import (
    check_whole as check_whole,
)
from .runs import (
    weights_file as weights_file,
)
from .settings import Outcome as Outcome
from .settings import TrainingSettings as TrainingSettings
from .text import load_text as load_text
