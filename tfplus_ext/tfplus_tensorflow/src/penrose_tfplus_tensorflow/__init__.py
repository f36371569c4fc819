"""Dynamic embedding tables inside TensorFlow: variables by key, fused optimizers, lookups, a Keras layer."""

from penrose_tfplus_tensorflow import (
    _library,  # noqa: F401  (first: looks at the version of TensorFlow)
    gradients as _gradients,  # noqa: F401  (registers them)
)
from penrose_tfplus_tensorflow.frozen import FrozenTable
from penrose_tfplus_tensorflow.kv_variable import KvVariable
from penrose_tfplus_tensorflow.layers import Embedding
from penrose_tfplus_tensorflow.lookup import embedding_lookup, safe_embedding_lookup_sparse
from penrose_tfplus_tensorflow.registry import forget_kv_variables, get_kv_variable
from penrose_tfplus_tensorflow.training import MixedOptimizer, Model, TrainsTables, kv_variables

__all__ = [
    "Embedding",
    "FrozenTable",
    "KvVariable",
    "MixedOptimizer",
    "Model",
    "TrainsTables",
    "embedding_lookup",
    "forget_kv_variables",
    "get_kv_variable",
    "kv_variables",
    "safe_embedding_lookup_sparse",
]
