from .profile import CPU as CPU, DEVICES as DEVICES, DeviceProfile as DeviceProfile, PerPhase as PerPhase, Thermal as Thermal, load_device as load_device
from .topology import CPU_FOLDER as CPU_FOLDER, Core as Core, choose_cores as choose_cores, clusters as clusters, local_cores as local_cores, parse_core as parse_core
