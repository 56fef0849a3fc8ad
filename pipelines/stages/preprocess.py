"""The job as Beam transforms. Elements are file ranges, batches and names, never rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton
from apache_beam.typehints import with_input_types, with_output_types

from mtl_tf.files import write_json
from mtl_tf.schema import Schema
from pipelines.settings import Settings
from pipelines.sources import Source
from pipelines.stages.encode import Concatenate, Encode
from pipelines.stages.fit import Analyze, FitTransform
from pipelines.stages.read import ReadAndValidate


class Preprocess(beam.PTransform):
    """File ranges → a dataset in the working folder's `out/`, and the names of its shards.

        ranges → read and validate ─ training rows → analyze ─┐
                        └ reports ──────────────────────────→ fit → encode → join shards

    Rows are passed in chunk files, not through Beam: a runner that keeps shuffled data in
    memory then keeps only names. `written.json` in the working folder marks the end of the
    job, or `failure.json` if the data must not be used.

    Args:
        schema: Fields and tasks.
        settings: The job's settings.
        sources: The input files, for their fingerprints.
    """

    def __init__(self, schema: Schema, settings: Settings, sources: Sequence[Source]):
        super().__init__()
        self._schema, self._settings, self._sources = schema.to_json(), settings, list(sources)

    def expand(self, ranges: beam.PCollection) -> beam.PCollection:
        settings = self._settings
        read = (
            ranges
            | "Spread ranges" >> beam.Reshuffle()
            | "Read and validate"
            >> beam.ParDo(ReadAndValidate(self._schema, settings)).with_outputs(
                "reports", main="train"
            )
        )
        analyzed = read.train | "Analyze" >> beam.CombineGlobally(Analyze(self._schema))
        start = ranges.pipeline | "Start" >> beam.Create([None])
        encoded = (
            start
            | "Fit transform"
            >> beam.ParDo(
                FitTransform(self._schema, settings, self._sources),
                AsSingleton(analyzed),
                AsList(read.reports),
            )
            | "Spread chunks" >> beam.Reshuffle()
            | "Encode" >> beam.ParDo(Encode(settings)).with_outputs("counts", main="members")
        )
        fingerprints = (
            ranges.pipeline
            | "Sources" >> beam.Create(_paths(self._sources), reshuffle=True)
            | "Fingerprint" >> beam.ParDo(Fingerprint())
        )
        _ = start | "Write counts" >> beam.ParDo(
            WriteCounts(settings), AsList(encoded.counts), AsList(fingerprints)
        )
        return (
            encoded.members
            | "Gather members" >> beam.GroupByKey()
            | "Join shards" >> beam.ParDo(Concatenate(settings))
        )


@with_input_types(tuple[int, str])
@with_output_types(tuple[int, str])
class Fingerprint(beam.DoFn):
    """Maps (number, path) to (number, SHA-256 of the file)."""

    def process(self, item: tuple[int, str]) -> Iterator[tuple[int, str]]:
        with open(item[1], "rb") as file:
            yield item[0], _sha256(file)


@with_input_types(Any, Sequence[Any], Sequence[Any])
@with_output_types(str)
class WriteCounts(beam.DoFn):
    """Writes the counts of the chunks and the files' fingerprints, for the launcher."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def process(self, _: Any, counts: Sequence[Any], fingerprints: Sequence[Any]) -> Iterator[str]:
        found = {"counts": list(counts), "sha256": [digest for _, digest in sorted(fingerprints)]}
        path = self._settings.root / "written.json"
        write_json(path, found, indent=None)
        yield path.name


def _paths(sources: Sequence[Source]) -> list[tuple[int, str]]:
    return [(number, source.absolute) for number, source in enumerate(sources)]


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
