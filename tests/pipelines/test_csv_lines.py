"""Blocks of CSV lines: every line is one row, or malformed alone."""

import bz2
import gzip
import lzma

import pytest

from tests.support.file_ranges import collect, range_of, rows_of


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.csv", bytes),
        ("x.csv.gz", gzip.compress),
        ("x.csv.xz", lzma.compress),
        ("x.csv.bz2", bz2.compress),
        ("x.csv.gz", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ],
)
def test_csv_plain_and_compressed(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(b"b,a\n1,x\n2,\n"))
    rows, malformed = rows_of(path, ["a", "b"])
    assert rows == [(2, ("x", "1"), "1,x"), (3, ("", "2"), "2,")]
    assert malformed == []


@pytest.mark.parametrize(
    ("body", "rows", "malformed"),
    [
        ("1,2\n3,4", [(2, ("1", "2")), (3, ("3", "4"))], []),
        ("1,2\r\n3,4\r\n", [(2, ("1", "2")), (3, ("3", "4"))], []),
        ("\n1,2\n\n\n3,4\n", [(3, ("1", "2")), (6, ("3", "4"))], []),
        ("1,2\n1,2,3\n5\n6,7\n", [(2, ("1", "2")), (5, ("6", "7"))],
         [(3, "expected 2 columns, got 3"), (4, "expected 2 columns, got 1")]),
        ('"x,y","a ""b"""\n3,4\n', [(2, ("x,y", 'a "b"')), (3, ("3", "4"))], []),
        ('5" disk,"2"\n3,4\n', [(2, ('5" disk', "2")), (3, ("3", "4"))], []),
        ('1,"two\nlines"\n3,4\n', [(4, ("3", "4"))],
         [(2, "a quote is opened"), (3, "expected 2 columns, got 1")]),
        ('1,2\n3,"4\n', [(2, ("1", "2"))], [(3, "a quote is opened")]),
        ('1,2\n3,"4', [(2, ("1", "2"))], [(3, "a quote is opened")]),
        ('x"y,"abc\n5,6\n7,8"\n8,9\n',
         [(3, ("5", "6")), (4, ("7", '8"')), (5, ("8", "9"))], [(2, "a quote is opened")]),
        ("1,2\n3\r,4\n5,6\n", [(2, ("1", "2")), (4, ("5", "6"))], [(3, "a carriage return")]),
        ("", [], []),
        ("\n\n", [], []),
    ],
)  # fmt: skip
def test_csv_lines(tmp_path, body, rows, malformed):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + body.encode())
    found, bad = collect([range_of(path)], ["a", "b"])
    assert [row[:2] for row in found] == rows
    assert [line for line, _, _ in bad] == [line for line, _ in malformed]
    assert all(item[1].startswith(reason) for item, (_, reason) in zip(bad, malformed, strict=True))


def test_csv_not_utf8(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff\xfe\n\xc3\xa9,2\n")
    rows, malformed = collect([range_of(path)], ["a", "b"])
    assert [row[:2] for row in rows] == [(3, ("é", "2"))]
    assert [(line, reason) for line, reason, _ in malformed] == [(2, "not UTF-8 text")]


def test_csv_header_with_byte_order_mark_and_tabs(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes("\ufeffa\tb c\n1\t2,5\n".encode())
    assert rows_of(path, ["a", "b c"])[0][0][:2] == (2, ("1", "2,5"))


def test_a_csv_cell_of_any_length(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('a,n\nx,1\n\ny,"' + "z" * 150_000 + '"\n')
    rows, malformed = rows_of(path, ["a"])
    assert [row[1] for row in rows] == [("x",), ("y",)]
    assert not malformed
