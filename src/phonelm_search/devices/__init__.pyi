from .profile import (
    CPU as CPU,
)
from .profile import (
    DEVICES as DEVICES,
)
from .profile import (
    DeviceProfile as DeviceProfile,
)
from .profile import (
    PerPhase as PerPhase,
)
from .profile import (
    Thermal as Thermal,
)
from .profile import (
    load_device as load_device,
)
from .topology import (
    CPU_FOLDER as CPU_FOLDER,
)
from .topology import (
    Core as Core,
)
from .topology import (
    choose_cores as choose_cores,
)
from .topology import (
    clusters as clusters,
)
from .topology import (
    local_cores as local_cores,
)
from .topology import (
    parse_core as parse_core,
)
