"""The one place that decides which Keras is in use.

`TF_USE_LEGACY_KERAS=1` means Keras 2 (`tf_keras`, which tensorflow-recommenders
needs); unset means Keras 3. Everything else imports `keras` from here.
"""

import os

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")

if LEGACY:
    import tf_keras as keras
else:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "mtl_tf runs on Keras' TensorFlow backend. Received: "
            f"KERAS_BACKEND={keras.backend.backend()}. Unset it or set it to `tensorflow`."
        )

__all__ = ["LEGACY", "keras"]
