"""Keras layers of the family: small, with plain arguments, one per file."""

from mtl_tf.layers.cell_sparse_sharing import CellSparseSharing
from mtl_tf.layers.field_embedding import FieldEmbedding
from mtl_tf.layers.field_mask import FieldMask
from mtl_tf.layers.hard_concrete_gate import HardConcreteGate
from mtl_tf.layers.sub_networks import SubNetworks
from mtl_tf.layers.tower import Tower

__all__ = [
    "CellSparseSharing",
    "FieldEmbedding",
    "FieldMask",
    "HardConcreteGate",
    "SubNetworks",
    "Tower",
]
