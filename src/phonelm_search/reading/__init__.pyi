from .counts import count_shapes as count_shapes
from .explanation import Explanation as Explanation, Neighbour as Neighbour, explain_shape as explain_shape
from .pick import Pick as Pick, Rule as Rule, check_rule as check_rule, choose as choose, current_pick as current_pick, score_pairs as score_pairs, trust as trust
from .readings import Place as Place, Readings as Readings, Summaries as Summaries, environments as environments
from .regret import Regret as Regret, quality_of as quality_of, regret_matrix as regret_matrix, times_by_device as times_by_device
from .sensitivity import Effect as Effect, Sensitivity as Sensitivity, analyse as analyse, check_count as check_count
from .shortlist import candidates as candidates, near_front as near_front, typical_size as typical_size
from .view import FailedShape as FailedShape, StudyRow as StudyRow, StudyView as StudyView, find_row as find_row, least_coverage as least_coverage, load_view as load_view
