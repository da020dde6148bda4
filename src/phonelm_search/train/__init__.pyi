from .corpus import TokenisedCorpus as TokenisedCorpus, tokenise as tokenise, tokens_file as tokens_file
from .miniature import Candidate as Candidate, make_candidates as make_candidates, too_narrow as too_narrow, width_factor as width_factor
from .probe import choose_acceleration as choose_acceleration
from .runs import Run as Run, Runner as Runner, check_whole as check_whole, weights_file as weights_file
from .settings import Outcome as Outcome, TrainingSettings as TrainingSettings
from .text import load_text as load_text
