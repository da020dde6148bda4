from .files import write_sensitivity as write_sensitivity
from .files import write_tables as write_tables
from .handoff import hand_off as hand_off
from .shape import export_shape as export_shape
