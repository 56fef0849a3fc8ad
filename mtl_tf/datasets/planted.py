"""A generated log with planted relevance: what a model should find is known, and its limit.

    log = Planted(harmful=4, correlation=0.8)
    log.write("planted")        # train, eval and test.parquet, planted.yaml, truth.json

Field names say what they are: `common_*` matter to all tasks, `task_1_only_*` to one,
`noise_*` to none. `harmful_*` follow a task's label in the training and evaluation rows,
as an effect of the time they were logged might, and nothing in the test rows: a model that
reads them is worse for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

from mtl_tf.errors import UserError
from mtl_tf.files import write_json

Array = np.ndarray[Any, Any]

_SPLITS = ("train", "eval", "test")
_PILOT_ROWS = 1 << 16  # to find the bias that gives a share of positives
_TAIL = 0.7  # shares of a field's values fall as 1 / rank^0.7


@dataclass(frozen=True)
class Rows:
    """Some rows: the fields' ids, the tasks' labels, and the Bayes scorer's probabilities.

    Attributes:
        ids: by field, int64 `(rows,)`.
        labels: by task, 0 or 1; NaN where the label is missing.
        bayes: by task, P(label = 1) given the fields that matter. No scorer ranks test rows
            better than by it.
    """

    ids: Mapping[str, Array]
    labels: Mapping[str, Array]
    bayes: Mapping[str, Array]


@dataclass(frozen=True)
class Planted:
    """The truth behind a log of independent categorical fields.

        logit P(y_t = 1) = b_t + signal / √n Σ_f a_tf(v_f)      f over the n fields of task t
        a_tf = √correlation · c_f + √(1 − correlation) · s_tf

    c_f and s_tf are drawn and then made orthonormal over the field's values, weighted by
    their shares: every field of a task matters equally, and the effects of a common field
    on two tasks correlate exactly as `correlation` says.

    Attributes:
        positive_rates: the share of positives of `task_1`, `task_2`, …
        common: number of fields that matter to all tasks.
        own: number of fields for each task that matter to it alone.
        noise: number of fields that matter to none.
        harmful: number of fields that follow the label of a task, each in turn, in train and
            eval only: P(v | y) ∝ share(v) · exp(±harm/2 · b(v)), with b of variance 1.
        correlation: of the effects of common fields on two tasks, 0 to 1.
        signal: standard deviation of a task's logit.
        harm: change of a harmful field's log odds between two values one deviation apart.
        vocabularies: number of values, taken by the fields in turn.
        labelled: share of the rows that have a task's label.
        seed: of the effects, and with the split's name of the rows.

    Raises:
        UserError: an option is out of its range.

    Example:
    >>> log = Planted(positive_rates=(0.3, 0.1), common=1, own=1, noise=1, harmful=1)
    >>> log.relevance["common_1"], log.relevance["task_2_only_1"], log.relevance["harmful_1"]
    (('task_1', 'task_2'), ('task_2',), ())
    >>> sorted(log.rows("test", 5).ids) == sorted(log.relevance)
    True
    """

    positive_rates: tuple[float, ...] = (0.3, 0.1)
    common: int = 4
    own: int = 3
    noise: int = 8
    harmful: int = 0
    correlation: float = 0.5
    signal: float = 1.5
    harm: float = 0.3
    vocabularies: tuple[int, ...] = (10, 30, 100)
    labelled: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        tasks = len(self.positive_rates)
        for name, valid, expected in (
            ("positive_rates", tasks and all(0 < r < 1 for r in self.positive_rates),
             "shares between 0 and 1"),
            ("correlation", 0 <= self.correlation <= 1, "between 0 and 1"),
            ("labelled", 0 < self.labelled <= 1, "above 0, at most 1"),
            ("common", self.common + self.own > 0, "above 0 where `own` is 0"),
            ("vocabularies", all(size >= tasks + 2 for size in self.vocabularies),
             f"at least {tasks + 2}, two more than there are tasks"),
        ):  # fmt: skip
            if not valid:
                raise UserError(f"`{name}` must be {expected}. Received: {getattr(self, name)}")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(f"task_{t}" for t in range(1, len(self.positive_rates) + 1))

    @cached_property
    def relevance(self) -> Mapping[str, tuple[str, ...]]:
        """By field, the tasks whose label depends on it in every split."""
        found = {f"common_{i}": self.tasks for i in range(1, self.common + 1)}
        for task in self.tasks:
            found |= {f"{task}_only_{i}": (task,) for i in range(1, self.own + 1)}
        found |= {f"noise_{i}": () for i in range(1, self.noise + 1)}
        return found | {f"harmful_{i}": () for i in range(1, self.harmful + 1)}

    @cached_property
    def shares(self) -> Mapping[str, Array]:
        """By field, the share of each of its values."""
        found = {}
        for place, field in enumerate(self.relevance):
            size = self.vocabularies[place % len(self.vocabularies)]
            share = 1.0 / np.arange(1, size + 1) ** _TAIL
            found[field] = share / share.sum()
        return found

    @cached_property
    def effects(self) -> Mapping[str, Mapping[str, Array]]:
        """By task and field that matters to it, what each value adds to the logit."""
        scale = self.signal / np.sqrt(self.common + self.own)
        found: dict[str, dict[str, Array]] = {task: {} for task in self.tasks}
        for field, tasks in self.relevance.items():
            for task, effect in zip(tasks, self._directions(field)[1:], strict=False):
                common = np.sqrt(self.correlation) * self._directions(field)[0]
                rest = np.sqrt(1 - self.correlation) * effect
                found[task][field] = scale * (common + rest)
        return found

    @cached_property
    def biases(self) -> Mapping[str, float]:
        """By task, the logit at which its share of positives is that of `positive_rates`."""
        rng = np.random.default_rng((self.seed, 1))
        ids = {field: self._draw(field, rng, _PILOT_ROWS) for field in self.relevance}
        return {
            task: _bias(self._logits(task, ids), rate)
            for task, rate in zip(self.tasks, self.positive_rates, strict=True)
        }

    def rows(self, split: str, count: int) -> Rows:
        """Return `count` rows of a split: `train`, `eval` or `test`; the same at every call."""
        rng = np.random.default_rng((self.seed, 2, _SPLITS.index(split)))
        ids = {field: self._draw(field, rng, count) for field in self.relevance}
        bayes = {t: _sigmoid(self.biases[t] + self._logits(t, ids)) for t in self.tasks}
        labels = {task: (rng.random(count) < p).astype(float) for task, p in bayes.items()}
        if split != "test":
            ids |= self._follow(labels, rng)
        for label in labels.values():
            label[rng.random(count) >= self.labelled] = np.nan
        return Rows(ids, labels, bayes)

    def write(self, folder: str | Path, counts: Mapping[str, int] | None = None) -> Path:
        """Write `<split>.parquet`, the configuration `planted.yaml` and `truth.json`.

        The files also have the columns `bayes_<task>`, which the configuration does not read.

        Args:
            folder: created if needed.
            counts: rows by split; 40,000 for training and 20,000 for each of the others.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for split, count in (counts or {"train": 40_000, "eval": 20_000, "test": 20_000}).items():
            table = pa.table(dict(_columns(self.rows(split, count))))
            pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
        text = yaml.safe_dump(self.schema(), sort_keys=False)
        (folder / "planted.yaml").write_text(text, encoding="utf-8")
        reads = {
            task: [field for field, tasks in self.relevance.items() if task in tasks]
            for task in self.tasks
        }
        noise = [field for field, tasks in self.relevance.items() if not tasks]
        write_json(folder / "truth.json", {"reads": reads, "noise": noise, "made": asdict(self)})
        return folder

    def schema(self) -> dict[str, Any]:
        """Return the configuration of the files, without `model` and `training`."""
        return {
            "name": "planted",
            "fields": [
                {"name": name, "kind": "categorical", "dtype": "integer"} for name in self.relevance
            ],
            "tasks": [{"name": task, "label": f"label_{task}"} for task in self.tasks],
        }

    def _directions(self, field: str) -> Array:
        """Return c_f, s_1f, s_2f, …: orthonormal under the shares, of mean 0."""
        share = self.shares[field]
        place = list(self.relevance).index(field)
        rng = np.random.default_rng((self.seed, 0, place))
        drawn = rng.normal(size=(len(share), len(self.tasks) + 1))
        root = np.sqrt(share)[:, None]
        q, r = np.linalg.qr(root * np.column_stack([np.ones(len(share)), drawn]))
        return ((q / root) * np.sign(np.diag(r)))[:, 1:].T

    def _draw(self, field: str, rng: np.random.Generator, count: int) -> Array:
        share = self.shares[field]
        return rng.choice(len(share), size=count, p=share)

    def _logits(self, task: str, ids: Mapping[str, Array]) -> Array:
        return np.sum([effect[ids[field]] for field, effect in self.effects[task].items()], axis=0)

    def _follow(self, labels: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Return the harmful fields' ids, drawn given the label of a task."""
        found = {}
        for number in range(self.harmful):
            field = f"harmful_{number + 1}"
            label = labels[self.tasks[number % len(self.tasks)]]
            tilt = np.exp(self.harm / 2 * self._directions(field)[0])
            ids = np.empty(len(label), np.int64)
            for value, weight in ((1, tilt), (0, 1 / tilt)):
                share = self.shares[field] * weight
                rows = label == value
                ids[rows] = rng.choice(len(share), size=rows.sum(), p=share / share.sum())
            found[field] = ids
        return found


def _columns(rows: Rows) -> Iterator[tuple[str, Any]]:
    yield from rows.ids.items()
    for task, label in rows.labels.items():
        yield f"label_{task}", pa.array(label, from_pandas=True)  # NaN becomes missing
        yield f"bayes_{task}", rows.bayes[task]


def _bias(logits: Array, rate: float) -> float:
    """Return b with mean sigmoid(b + logits) = `rate`, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(middle + logits).mean() < rate else (low, middle)
    return (low + high) / 2


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))
