"""Turn raw rows into a dataset: TFRecord shards, vocabularies, statistics, dataset.json.

    python -m pipelines.preprocess --config shop.yaml --input 'logs/*.csv.gz' --output dataset
    python -m pipelines.preprocess --config census.yaml \\
        --input train.csv.xz --input test=test.csv.xz --output dataset

Inputs are CSV, TSV, JSON Lines (plain, .gz, .xz, .bz2) and Parquet files, or quoted
globs of them. Rows of plain inputs are split by hash as the configuration says;
`SPLIT=FILE` puts all rows of a file into train, eval or test. One line is one row: line
breaks inside quotes are not supported.

A row that cannot be read, or breaks a rule of the configuration, is rejected and written
to rejected-*.jsonl with its file, line and reason (at most 10,000 rows per 64 MiB of
input, but all are counted). If more than --max-rejected of all rows are rejected, the job
fails, nothing is published, and OUTPUT.rejected.jsonl has the rejected rows.

The output folder appears complete, at the end, or not at all. Its bytes are the same for
any number of workers. Training rows are shuffled over the shards; rows of eval and test
keep the order of the input.

All other flags are passed to Beam. The default runner is FnApiRunner, in this process;
--workers N uses N processes, which is faster from about a million rows. Select another
runner by flag (--runner=FlinkRunner --flink_master=…; put flags that only the runner knows
after a bare `--`). Its workers need this package installed, and the input, the output and
its parent folder under the same paths.

Exit codes: 0 done, 1 faulty data, 2 faulty call, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtl_tf.config import load_config
from mtl_tf.errors import UserError
from mtl_tf.files import json_path, staging_folder, write_json
from mtl_tf.schema import Schema
from pipelines import report
from pipelines.settings import Settings
from pipelines.sources import FileRange, Source, plan
from pipelines.split import shares
from pipelines.stages import publish

_PROGRAM = "python -m pipelines.preprocess"


def preprocess(
    config: str | Path, inputs: Sequence[str | Path], output: str | Path, *flags: str
) -> dict[str, Any]:
    """Run the job as its command line does and return the content of `dataset.json`.

    Args:
        config: the configuration, a YAML file.
        inputs: files or globs; `SPLIT=FILE` puts a whole file into train, eval or test.
        output: the dataset folder to create.
        flags: more flags of the command line, such as `--overwrite`, and Beam's.

    Raises:
        UserError: a mistake in the call; `DataError`: in the data.
    """
    named = [flag for path in inputs for flag in ("--input", str(path))]
    return run(["--config", str(config), *named, "--output", str(output), *flags])


def run(argv: Sequence[str] | None = None, program: str = _PROGRAM) -> dict[str, Any]:
    """Run the job and return the content of `dataset.json`.

    Args:
        argv: The command line after the program's name; that of this process by default.
        program: The job's name in `--help`.

    Raises:
        UserError: A mistake in the call.
        DataError: A mistake in the data. After too many rejected rows they are kept in
            OUTPUT.rejected.jsonl; otherwise an error leaves no files behind.
    """
    args, beam_flags, parser = _parse(sys.argv[1:] if argv is None else argv, program)
    started = time.monotonic()
    options = _options(args, beam_flags, parser)
    schema = load_config(args.config).schema
    output = Path(args.output)
    publish.check_output(output, args.overwrite)
    json_file = json_path(args.json)
    sources, ranges = plan(args.input, schema.columns)
    plain = any(not source.split for source in sources)
    with staging_folder(output.absolute().parent, f".{output.name}.tmp-") as folder:
        settings = Settings(
            folder=str(folder),
            shares=shares(schema, {source.split for source in sources}) if plain else {},
            max_rejected=args.max_rejected,
            layout=args.layout,
            block_rows=args.block_rows,
            compression=None if args.compression == "none" else args.compression,
            shards=args.shards,
        )
        settings.make_folders()
        dataset = _work(schema, settings, sources, ranges, options, output)
        publish.publish(settings, output, args.overwrite)
    report.print_summary(output, dataset, sys.stderr)
    if json_file:
        write_json(json_file, {"bars": report.bars(dataset, time.monotonic() - started)})
    return dataset


def _work(
    schema: Schema,
    settings: Settings,
    sources: Sequence[Source],
    ranges: Sequence[FileRange],
    options: Any,
    output: Path,
) -> dict[str, Any]:
    """Run the pipeline until `out/` is complete; return the content of `dataset.json`."""
    import apache_beam as beam

    from pipelines.beam_options import make_runner, quiet_logging
    from pipelines.progress import ProgressDisplay
    from pipelines.stages.preprocess import Preprocess

    try:
        with (
            quiet_logging(),
            ProgressDisplay(settings.root, sum(source.bytes for source in sources)),
        ):
            pipeline = beam.Pipeline(make_runner(options), options)
            _ = (
                pipeline
                | "File ranges" >> beam.Create(list(ranges)).with_output_types(FileRange)
                | "Preprocess" >> Preprocess(schema, settings, sources)
            )
            state = pipeline.run().wait_until_finish()
        publish.raise_failure(settings, output)
        if not (settings.root / "written.json").exists():
            raise RuntimeError(f"the runner ended the job early, in state {state}")
        return publish.describe(settings, sources)
    except Exception as error:  # Beam wraps a worker's error in its own, text and all
        if "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from None
        if "[Errno 28]" in str(error):
            raise UserError(
                f"no space left on the disk of {output.absolute().parent}; the job needs about "
                "the size of its uncompressed input there while it runs"
            ) from None
        raise


def _parse(
    argv: Sequence[str], program: str
) -> tuple[argparse.Namespace, list[str], argparse.ArgumentParser]:
    parser = _Parser(
        prog=program,
        description=(__doc__ or "").replace(_PROGRAM, program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="the configuration (YAML)")
    add("--input", required=True, action="append", metavar="[SPLIT=]FILE", help="repeatable")
    add("--output", required=True, metavar="FOLDER", help="the dataset folder to create")
    add("--overwrite", action="store_true", help="replace the dataset in --output")
    add("--max-rejected", type=_share, default=0.01, metavar="SHARE", help="default 0.01")
    add("--layout", choices=("block", "row"), default="block",
        help="block: many rows in a tf.Example, fast to read (default); row: one each")  # fmt: skip
    add("--block-rows", type=_count, default=512, metavar="N", help="rows per block, default 512")
    add("--shards", type=_count, default=0, metavar="N",
        help="files of the train split; by default chosen by the number of rows")  # fmt: skip
    add("--compression", choices=("gzip", "none"), default="gzip", help="default gzip")
    add("--workers", type=_count, default=0, metavar="N", help="local processes, default 1")
    add("--json", metavar="FILE", help="write the figures of the run to this file")
    args, rest = parser.parse_known_args(list(argv))
    return args, rest, parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1. Received: {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1. Received: {text}")
    return value


def _options(
    args: argparse.Namespace, beam_flags: Sequence[str], parser: argparse.ArgumentParser
) -> Any:
    # At import, Beam warns of missing Google clients, which this job does not need.
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        from pipelines.beam_options import beam_options
    finally:
        logging.root.setLevel(level)
    own = [flag for action in parser._actions for flag in action.option_strings]
    return beam_options(beam_flags, own, args.workers)


def main() -> int:
    """Call `run` from a shell: one sentence instead of a stack trace, and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    try:
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was published", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
