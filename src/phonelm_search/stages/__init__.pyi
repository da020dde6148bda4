from .compare import run_sensitivity as run_sensitivity
from .measure import SearchPlan as SearchPlan, Strategy as Strategy, run_search as run_search
from .new_phone import add_phone as add_phone, describe as describe
from .plan import DryRun as DryRun, finished_trials as finished_trials, plan_run as plan_run
from .profile import ProfilePlan as ProfilePlan, profile_shapes as profile_shapes
from .run import run_all as run_all
from .setup import Setup as Setup, call_text as call_text, prepare as prepare
from .train import run_score as run_score
