"""Wrong arguments and inputs of layers are named, with the value received."""

import pytest
import tensorflow as tf

from mtl_tf import layers

pytestmark = pytest.mark.keras


def _field(**options):
    return lambda: layers.FieldEmbedding([{"name": "a", "kind": "id", "dim": 2, **options}])


BAD_ARGUMENTS = [
    (
        lambda: layers.SubNetworks(0, 4),
        "`num_sub_networks` must be a positive integer. Received: num_sub_networks=0",
    ),
    (
        lambda: layers.CellSparseSharing(2, -1),
        "`units` must be a positive integer. Received: units=-1",
    ),
    (
        lambda: layers.HardConcreteGate((2,), beta=0.0),
        "`beta` must be in (0, 1]. Received: beta=0.0",
    ),
    (
        lambda: layers.HardConcreteGate((2,), gamma=0.1),
        "`gamma` must be below 0. Received: gamma=0.1",
    ),
    (
        lambda: layers.HardConcreteGate((2,), zeta=1.0),
        "`zeta` must be above 1. Received: zeta=1.0",
    ),
    (
        lambda: layers.HardConcreteGate((2,), initial_drop=1.0),
        "`initial_drop` must be in (0, 1). Received: initial_drop=1.0",
    ),
    (
        lambda: layers.HardConcreteGate((2,), penalty=-1.0),
        "`penalty` must not be negative. Received: penalty=-1.0",
    ),
    (
        lambda: layers.DimensionGate([4, 2], ["a"]),
        "`tables` must name one table for each of `field_dims`. "
        "Received: tables=['a'], field_dims=[4, 2]",
    ),
    (
        lambda: layers.DimensionGate([4, 2], ["a", "a"]),
        "fields of one table must have one width. Received: tables=['a', 'a'], field_dims=[4, 2]",
    ),
    (
        lambda: layers.FieldMask(2, [4, 0]),
        "`field_dims` must be a positive integer. Received: field_dims=0",
    ),
    (
        lambda: layers.FieldMask(2, [4], anchor=0.0),
        "`anchor` must be positive. Received: anchor=0.0",
    ),
    (
        lambda: layers.FieldEmbedding([]),
        "`features` must name at least one field. Received: features=[]",
    ),
    (
        _field(kind="text"),
        "`kind` must be one of ('id', 'bag', 'number'). "
        "Received: feature={'name': 'a', 'kind': 'text', 'dim': 2}",
    ),
    (_field(), "`size` must be a positive integer. Received: size=None"),
    (
        _field(kind="bag", size=3, pooling="max"),
        "`pooling` must be 'mean' or 'sum'. Received: feature={'name': 'a', 'kind': 'bag', "
        "'dim': 2, 'size': 3, 'table': 'a', 'pooling': 'max', 'weighted': False}",
    ),
    (
        lambda: layers.Tower(-1),
        "`sub_network` must not be negative. Received: sub_network=-1",
    ),
    (
        lambda: layers.Tower(0, num_outputs=0),
        "`num_outputs` must be a positive integer. Received: num_outputs=0",
    ),
    (
        lambda: layers.ScaledValue(scale=0.0),
        "`scale` must be positive. Received: scale=0.0",
    ),
    (
        lambda: layers.DurationQuantile([[0.0, 1.0], [0.0]]),
        "`quantiles` must hold equally many numbers for each group, two or more. "
        "Received: [1, 2] numbers",
    ),
    (
        lambda: layers.OrdinalValue([1.0], [0.0]),
        "`values` must be one more than `thresholds`, which must not be empty. "
        "Received: thresholds=[1.0], values=[0.0]",
    ),
    (
        lambda: layers.OrdinalValue([1.0], [0.0, 2.0], [1.0]),
        "`rates` must be as many as `thresholds`, each between 0 and 1. Received: rates=[1.0]",
    ),
    (
        lambda: layers.WeightedLogistic(-1.0),
        "`scale` must be positive. Received: scale=-1.0",
    ),
    (
        lambda: layers.ZeroInflatedLogNormal(std=0.0),
        "`std` must be positive. Received: std=0.0",
    ),
    (
        lambda: layers.Tower(0, link="softmax"),
        "`link` must be one of ('sigmoid', 'identity'). Received: link='softmax'",
    ),
    (
        lambda: layers.SubNetworkRouting(0),
        "`num_outputs` must be a positive integer. Received: num_outputs=0",
    ),
    (
        lambda: layers.SubNetworkRouting(2, -4),
        "`units` must be a positive integer. Received: units=-4",
    ),
    (
        lambda: layers.ExpertMixture([[0], [1, 1]]),
        "`reads` must list one or more experts for every reader, each once. "
        "Received: reads=[[0], [1, 1]]",
    ),
    (lambda: layers.ExpertMixture([]), "`reads` must have at least one reader. Received: reads=[]"),
    (
        lambda: layers.CrossStitch(granularity="channel"),
        "`granularity` must be one of ('unit', 'layer'). Received: granularity='channel'",
    ),
    (
        lambda: layers.CrossStitch(self_weight=0.0),
        "`self_weight` must be in (0, 1]. Received: self_weight=0.0",
    ),
    (
        lambda: layers.Sluice(2, 5),
        "`units` must be a multiple of `num_subspaces`. Received: units=5, num_subspaces=2",
    ),
    (
        lambda: layers.LevelMixture(last_level_weight=1.5),
        "`last_level_weight` must be in (0, 1]. Received: last_level_weight=1.5",
    ),
    (
        lambda: layers.RepeatBranches([1, 0]),
        "`counts` must be a positive integer. Received: counts=0",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


BAD_INPUTS = [
    (lambda: layers.SubNetworks(3, 4), (2, 4, 5), "must be (batch, D) or (batch, 3, D)"),
    (lambda: layers.CellSparseSharing(3, 4), (2, 5), "must be (batch, sub-networks, width)"),
    (lambda: layers.DimensionGate([4, 2]), (2, 5), "must be the sum of `field_dims`, 6"),
    (lambda: layers.FieldMask(3, [4, 2]), (2, 5), "must be the sum of `field_dims`, 6"),
    (lambda: layers.Tower(3), (2, 3, 5), "with more than 3 sub-networks"),
    (lambda: layers.ScaledValue(), (2, 3), "must be (batch, 1)"),
    (lambda: layers.SubNetworkRouting(3), (2, 5), "must be (batch, sub-networks, width)"),
    (lambda: layers.RepeatBranches([1, 2]), (2, 3, 5), "must be (batch, 2, width)"),
    (lambda: layers.CrossStitch(), (2, 5), "must be (batch, tasks, units)"),
    (lambda: layers.ExpertMixture([[0, 3]]), [(2, 3, 5), (2, 4)], "(batch, more than 3, units)"),
    (
        lambda: layers.ExpertMixture([[0], [1]]),
        [(2, 3, 5), (2, 1, 4)],
        "must be (batch, D) or (batch, at least 2, D)",
    ),
    (lambda: layers.LevelMixture(), [(2, 3, 5), (2, 3, 4)], "list of equal (batch, tasks, units)"),
]


@pytest.mark.parametrize(("make", "shape", "message"), BAD_INPUTS)
def test_bad_inputs_are_named(make, shape, message):
    with pytest.raises(ValueError) as error:
        make()([*map(tf.zeros, shape)] if isinstance(shape, list) else tf.zeros(shape))
    assert message in str(error.value)
