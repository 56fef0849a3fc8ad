"""The `model` part of a configuration: one class per architecture, selected by `architecture`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field as _F

from mtl_tf.config.renamed import RenamedOptions
from mtl_tf.schema.base import StrictModel

STRICT = pydantic.ConfigDict(extra="forbid", validate_default=True)

Width = Annotated[int, _F(ge=1, le=65536)]
Widths = Annotated[tuple[Width, ...], _F(min_length=1)]
Count = Annotated[int, _F(ge=1, le=1024)]
Share = Annotated[float, _F(gt=0, le=1)]
Penalty = Annotated[float, _F(ge=0, allow_inf_nan=False)]


class _HardConcrete(RenamedOptions):
    """Options of every hard-concrete gate."""

    penalty: Penalty = 1e-3
    beta: float = _F(default=2 / 3, gt=0, le=1)
    gamma: float = _F(default=-0.1, lt=0)
    zeta: float = _F(default=1.1, gt=1)
    initial_drop: float = _F(default=0.1, gt=0, lt=1)

    def arguments(self) -> dict[str, float]:
        """Return the arguments of a layer with gates."""
        return self.model_dump(include=set(_HardConcrete.model_fields))


class Gates(_HardConcrete):
    """Hard-concrete gates on connections.

    Attributes:
        penalty: the L0 penalty λ0 of a gate; where `target_sparsity` is given, only its
            initial value.
        beta: temperature of the concrete distribution.
        gamma: lower end of the stretched interval.
        zeta: upper end of the stretched interval.
        initial_drop: the probability that a gate is closed at the start.
        target_sparsity: the share of connections to close, such as 0.4, instead of
            whatever the penalty closes: the penalty of the least useful gates is raised
            until they are closed (`mtl_tf.training.gate_schedule`). A gate is closed if its
            value in evaluation is exactly 0, which the export removes. A vector gate counts
            by the share of its units that are closed.
    """

    renamed: ClassVar = {"target_closed": "target_sparsity"}

    target_sparsity: float | None = _F(default=None, gt=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _target_needs_a_penalty(self) -> Gates:
        if self.target_sparsity is not None and not self.penalty:
            raise ValueError(
                "`target_sparsity` needs a `penalty` above 0 to start from; received 0"
            )
        return self


class Masks(StrictModel):
    """Field masks relu(tanh(g·e)).

    Attributes:
        penalty: the weight of Σ √m over the fields and their readers, m being the mean mask.
        close_below: a field whose mean mask is smaller after an epoch is closed to that
            reader permanently.
    """

    penalty: Penalty = 3e-4
    close_below: float = _F(default=0.001, ge=0, lt=1)


class EmbeddingGates(_HardConcrete):
    """Hard-concrete gates on the dimensions of the fields' vectors, the same for every reader.

    Attributes:
        penalty: the L0 penalty λ0 of a dimension, of which a model has many more than
            connections. Closed dimensions are columns that the export does not store.
        beta, gamma, zeta, initial_drop: as of `Gates`.
    """

    penalty: Penalty = 1e-4


class _Architecture(StrictModel):
    """Options of every architecture: towers, the activation, L2, gates of the fields."""

    tower_units: tuple[Width, ...] = (16,)
    activation: str = "relu"
    l2: Penalty = 0.0
    embedding_gates: EmbeddingGates | None = None


class SingleTask(_Architecture):
    """One network per task, nothing shared; `units` are the widths of its levels."""

    architecture: Literal["single_task"] = "single_task"
    units: Widths = (64, 32)


class SharedBottom(_Architecture):
    """One network for all tasks; `units` are the widths of its levels."""

    architecture: Literal["shared_bottom"] = "shared_bottom"
    units: Widths = (64, 32)


class MMoE(_Architecture):
    """Experts that all tasks share, mixed per task; `units` are an expert's layers.

    With more `levels` (ML-MMoE) every expert of the next level mixes those below it.
    """

    architecture: Literal["mmoe"] = "mmoe"
    units: Widths = (32,)
    num_experts: Count = 4
    levels: Count = 1


class CrossStitchNetwork(_Architecture, RenamedOptions):
    """A network per task, stitched after each level.

    `granularity` is what a stitching weight applies to, each `unit` or the whole `layer`;
    `self_weight` is the initial weight of a task's own network.
    """

    renamed: ClassVar = {"per": "granularity", "own": "self_weight"}

    architecture: Literal["cross_stitch"] = "cross_stitch"
    units: Widths = (64, 32)
    granularity: Literal["unit", "layer"] = "unit"
    self_weight: Share = 0.9


class SluiceNetwork(_Architecture, RenamedOptions):
    """A network per task of equally wide levels, stitched by subspaces and mixed by levels.

    `penalty` weighs the orthogonality of a level's subspaces; `self_weight` is the initial
    weight of a subspace's own values, and of the last level in the output.
    """

    renamed: ClassVar = {"own": "self_weight"}

    architecture: Literal["sluice"] = "sluice"
    units: Widths = (32, 32)
    num_subspaces: Count = 2
    penalty: Penalty = 1e-3
    self_weight: Share = 0.9

    @pydantic.model_validator(mode="after")
    def _widths_fit(self) -> SluiceNetwork:
        _require_equal(self.units, "β mixes the levels")
        if self.units[0] % self.num_subspaces:
            raise ValueError(
                f"`units` must be a multiple of `num_subspaces`; received {self.units[0]} and "
                f"{self.num_subspaces}"
            )
        return self


class CGC(_Architecture):
    """Task-specific and shared experts; each task mixes its own and the shared ones."""

    architecture: Literal["cgc"] = "cgc"
    units: Widths = (32,)
    task_experts: Count = 2
    shared_experts: Count = 2


class PLE(_Architecture):
    """Several `levels` of CGC; between them the shared experts read all experts."""

    architecture: Literal["ple"] = "ple"
    units: Widths = (32,)
    task_experts: Count = 2
    shared_experts: Count = 2
    levels: Count = 2


class SNRTrans(_Architecture):
    """Sub-networks behind gated matrices; `units` are the widths of the levels."""

    architecture: Literal["snr_trans"] = "snr_trans"
    units: Widths = (32, 32)
    num_sub_networks: Count = 4
    gates: Gates = Gates()


class SNRAver(_Architecture):
    """Sub-networks behind gated sums, all of one width."""

    architecture: Literal["snr_aver"] = "snr_aver"
    units: Widths = (32, 32)
    num_sub_networks: Count = 4
    gates: Gates = Gates()

    @pydantic.model_validator(mode="after")
    def _widths_fit(self) -> SNRAver:
        _require_equal(self.units, "sub-networks are summed")
        return self


class MSSM(_Architecture):
    """MSSM (SIGIR 2021): field masks at the input, vector gates between sub-networks."""

    architecture: Literal["mssm"] = "mssm"
    units: Widths = (64, 32)
    masks: Masks = Masks()
    gates: Gates = Gates()


class MSSMA(_Architecture):
    """MSSM without field masks (the paper's MSSM-a)."""

    architecture: Literal["mssm_a"] = "mssm_a"
    units: Widths = (64, 32)
    gates: Gates = Gates()


class MSSMB(_Architecture):
    """MSSM with every connection between sub-networks open (the paper's MSSM-b)."""

    architecture: Literal["mssm_b"] = "mssm_b"
    units: Widths = (64, 32)
    masks: Masks = Masks()


def _require_equal(units: tuple[int, ...], why: str) -> None:
    if len(set(units)) > 1:
        raise ValueError(f"`units` must be equal, because {why}; received {list(units)}")


Model = Annotated[
    SingleTask
    | SharedBottom
    | MMoE
    | CrossStitchNetwork
    | SluiceNetwork
    | CGC
    | PLE
    | SNRTrans
    | SNRAver
    | MSSM
    | MSSMA
    | MSSMB,
    pydantic.Discriminator("architecture"),
]
