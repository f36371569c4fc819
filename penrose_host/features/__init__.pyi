from .config import FeaturesConfig as FeaturesConfig
from .encoder import FeatureEncoder as FeatureEncoder
from .hashing import LONG as LONG, NULL_SEED as NULL_SEED, murmur as murmur
