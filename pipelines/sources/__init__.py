"""Reading rows: CSV, JSON Lines and Parquet files as Arrow batches.

`plan` looks at the files once, on the launcher, and cuts them into `FileRange`s; `read`
turns a range into `RawBatch`es, on a worker. One physical line is always one row: a line
that cannot be read is lost alone.
"""

from pipelines.sources.batch import MalformedLine, RawBatch
from pipelines.sources.files import FileRange, Source, missing_column, plan
from pipelines.sources.json_lines import as_json
from pipelines.sources.reader import read

__all__ = [
    "FileRange",
    "MalformedLine",
    "RawBatch",
    "Source",
    "as_json",
    "missing_column",
    "plan",
    "read",
]
