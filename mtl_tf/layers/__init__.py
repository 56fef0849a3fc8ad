"""The Keras layers: small, with plain arguments, one per file."""

from mtl_tf.layers.cell_sparse_sharing import CellSparseSharing
from mtl_tf.layers.cross_stitch import CrossStitch
from mtl_tf.layers.dimension_gate import DimensionGate
from mtl_tf.layers.duration_quantile import DurationQuantile
from mtl_tf.layers.expert_mixture import ExpertMixture
from mtl_tf.layers.field_embedding import FieldEmbedding
from mtl_tf.layers.field_mask import FieldMask
from mtl_tf.layers.hard_concrete_gate import HardConcreteGate
from mtl_tf.layers.joint_probability import JointProbability
from mtl_tf.layers.level_mixture import LevelMixture
from mtl_tf.layers.ordinal_value import OrdinalValue
from mtl_tf.layers.repeat_branches import RepeatBranches
from mtl_tf.layers.scaled_value import ScaledValue
from mtl_tf.layers.sluice import Sluice
from mtl_tf.layers.sub_network_routing import SubNetworkRouting
from mtl_tf.layers.sub_networks import SubNetworks
from mtl_tf.layers.tower import Tower
from mtl_tf.layers.weighted_logistic import WeightedLogistic
from mtl_tf.layers.zero_inflated_log_normal import ZeroInflatedLogNormal

__all__ = [
    "CellSparseSharing",
    "CrossStitch",
    "DimensionGate",
    "DurationQuantile",
    "ExpertMixture",
    "FieldEmbedding",
    "FieldMask",
    "HardConcreteGate",
    "JointProbability",
    "LevelMixture",
    "OrdinalValue",
    "RepeatBranches",
    "ScaledValue",
    "Sluice",
    "SubNetworkRouting",
    "SubNetworks",
    "Tower",
    "WeightedLogistic",
    "ZeroInflatedLogNormal",
]
