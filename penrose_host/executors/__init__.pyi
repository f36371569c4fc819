from .functions import different_names as different_names, fault as fault, function as function, is_place as is_place
from .inputs import Inputs as Inputs, Layout as Layout, Pooling as Pooling
from .options import MODELS as MODELS, ModelOptions as ModelOptions, OptimizerOptions as OptimizerOptions
from .owned_loop import OwnedLoop as OwnedLoop
