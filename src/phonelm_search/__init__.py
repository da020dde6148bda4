"""Search the shape of a small language model for on-device speed before pre-training it."""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels send telemetry over the network, and keep an identifier and a queue of it in
# ~/.cache, unless they are told not to before they are loaded. Who sets these keeps their choice.
for _name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
    os.environ.setdefault(_name, "1")
