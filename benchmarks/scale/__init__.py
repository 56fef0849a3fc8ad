"""How compile time and memory follow the work.

    python -m benchmarks.scale --json FILE [--only ARCHITECTURE] [--rounds N]

MSSM, PLE and SNR-Trans with drawn weights. Half of the gates (of MSSM, one per unit) and a
third of the masks are closed at random, as training leaves them; PLE has neither. Tasks,
fields, levels and ids are varied one at a time (`sizes.py`). Each measurement is made in a
process of its own:

- `compile`: capture, optimize, lower (with tracing the graph) and save, as TensorFlow's
  format for serving.
- `load`: the saved model, by the server's own loader, on one thread; and, before it, the bytes
  alone: every tensor of its checkpoint through TensorFlow's own reader.
- `export`: all of `serving.export.export`, with parity checks and the report, but for timing
  requests. Of the largest model only.

Seconds are CPU seconds of the process, those of its threads included, which other work on the
machine changes little; wall seconds are in the file too.

Bars, each the worst over the architectures:

- `export_s_20_tasks_400_fields`, `optimize_s_20_tasks`: seconds. The latter over every model of
  20 tasks and 40 fields.
- `memory_over_model`: of the model with the most ids, by how much resident memory grows at most
  over what importing took, divided by the bytes of the model's trained weights. The Keras
  model itself counts, as it is in memory while it is compiled. The larger of `compile` and
  `load`.
- `growth_tasks`, `growth_fields`: seconds of `compile` and `load` per unit of work at 20 tasks
  divided by those at 5, and at 400 fields by those at 40. The unit of work is one number among
  the model's weights outside of its embedding tables: these are as many for all of them.
- `load_s`: seconds to load, divided by those to read the bytes, of the model with the most ids.
"""
