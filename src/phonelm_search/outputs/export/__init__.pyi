from .files import write_sensitivity as write_sensitivity
from .files import write_tables as write_tables
from .handoff import hand_off as hand_off
from .winner import export_hf as export_hf
from .winner import export_onnx as export_onnx
