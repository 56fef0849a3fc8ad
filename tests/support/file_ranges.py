"""File ranges of test files, and their rows."""

from pipelines.sources import FileRange, plan, read


def collect(ranges, wanted):
    """Return the rows with line numbers and texts, and the malformed lines, of all ranges."""
    rows, malformed, lines = [], [], 0
    for source in ranges:
        before = lines
        for batch in read(source, wanted):
            cells = [batch.columns[name].to_pylist() for name in wanted]
            for i in range(batch.rows):
                values = tuple(column[i] for column in cells)
                rows.append((before + int(batch.lines[i]), values, batch.text(i)))
            malformed += [(before + item.line, item.reason, item.row) for item in batch.malformed]
            lines += batch.num_lines
    return rows, malformed


def range_of(path, start=0, end=-1, columns=("a", "b"), format="csv"):
    """Return a range of a file."""
    return FileRange(0, 0, str(path), str(path), format, "", "", columns, start, end, 0)


def rows_of(path, wanted):
    """Return `collect` of a whole file, as `plan` cuts it."""
    _, ranges = plan([str(path)], wanted)
    return collect(ranges, wanted)
