from .childprocess import KILLED as KILLED, answer_once as answer_once, ask as ask, die_with_parent as die_with_parent, why_it_ended as why_it_ended
from .crew import share as share
