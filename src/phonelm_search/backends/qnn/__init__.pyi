from .accelerator import check_accelerator as check_accelerator, check_key as check_key, cut as cut
from .calibration import Tokens as Tokens
from .compile import QNN as QNN, provider_library as provider_library, provider_versions as provider_versions, simulator as simulator
from .contexts import Context as Context, Contexts as Contexts, SEED as SEED, check_accelerated as check_accelerated
