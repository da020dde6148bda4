from .runtime import OnnxRuntime as OnnxRuntime
from .session import Copy as Copy
