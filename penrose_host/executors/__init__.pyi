from .functions import different_names as different_names, fault as fault, function as function, is_place as is_place
from .inputs import Inputs as Inputs, Layout as Layout, Pooling as Pooling
from .late import LateExecutor as LateExecutor, LearnerParts as LearnerParts
from .losses import log_loss as log_loss
from .options import MODELS as MODELS, ModelOptions as ModelOptions, OptimizerOptions as OptimizerOptions
from .owned_loop import OwnedLoop as OwnedLoop
