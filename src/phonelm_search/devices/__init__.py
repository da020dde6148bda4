"""Device profiles: where and how latency is measured."""

from phonelm_search.devices.profile import DEVICES, DeviceProfile, load_device

__all__ = ["DEVICES", "DeviceProfile", "load_device"]
