from .accelerator import check_accelerator as check_accelerator
from .accelerator import check_key as check_key
from .accelerator import cut as cut
from .calibration import Tokens as Tokens
from .compile import (
    QNN as QNN,
)
from .compile import (
    provider_library as provider_library,
)
from .compile import (
    provider_versions as provider_versions,
)
from .compile import (
    simulator as simulator,
)
from .contexts import (
    SEED as SEED,
)
from .contexts import (
    Context as Context,
)
from .contexts import (
    Contexts as Contexts,
)
from .contexts import (
    check_accelerated as check_accelerated,
)
