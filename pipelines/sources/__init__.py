"""Reading rows: CSV, JSON Lines and Parquet files as Arrow batches.

`plan` looks at the files once (on the launcher) and cuts them into pieces;
`read` turns a piece into `RawBatch`es (on a worker). One physical line is one
row, always: a line that cannot be read costs that line and no other.
"""

from pipelines.sources.batch import Broken, RawBatch
from pipelines.sources.files import Piece, Source, missing_column, plan
from pipelines.sources.json_lines import as_json
from pipelines.sources.reader import read

__all__ = ["Broken", "Piece", "RawBatch", "Source", "as_json", "missing_column", "plan", "read"]
