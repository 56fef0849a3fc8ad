"""A gate with its log α set by hand."""

import numpy as np

from mtl_tf.layers import HardConcreteGate


def gate_of(log_alpha, **options) -> HardConcreteGate:
    log_alpha = np.asarray(log_alpha, np.float32)
    gate = HardConcreteGate(log_alpha.shape, **options)
    gate.build(log_alpha.shape)
    gate.log_alpha.assign(log_alpha)
    return gate
