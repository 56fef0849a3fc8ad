"""Training: a dataset folder in, a run folder out.

run/
  model.keras      the model with the weights of the best epoch
  run.json         configuration, versions, seed, all metrics per epoch
  dataset.json     the dataset's description, with vocab/: a run needs no other folder
  gates.csv        which gates and masks were open after each epoch
  checkpoints/     the best weights, as written during training
  logs/            for TensorBoard
"""

from mtl_tf.runs import Run, evaluate, evaluate_in_detail, load_run
from mtl_tf.training.result import RunResult
from mtl_tf.training.train import train

__all__ = ["Run", "RunResult", "evaluate", "evaluate_in_detail", "load_run", "train"]
