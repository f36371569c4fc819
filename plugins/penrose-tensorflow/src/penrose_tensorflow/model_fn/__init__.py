"""Code written for `tf.estimator`: a `model_fn` over graphs of TensorFlow 1. `estimator` is what it imports."""
