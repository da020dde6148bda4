"""Hand-off of a shape: a configuration that trains as is, and the measured graph."""

from phonelm_search.export.files import to_csv, write_sensitivity, write_tables
from phonelm_search.export.handoff import hand_off
from phonelm_search.export.winner import export_hf, export_onnx

__all__ = ["export_hf", "export_onnx", "hand_off", "to_csv", "write_sensitivity", "write_tables"]
