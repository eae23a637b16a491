"""Records as JSON Lines and CSV: what is written can be read, and what is wrong is told with its line."""

import base64
import csv
import io
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.cli.cluster.key_ranges import KeyRange
from ringkeep.cli.records import csv_rows, json_lines
from ringkeep.cli.records.csv_rows import CsvReader
from ringkeep.cli.records.json_lines import JsonLinesReader
from ringkeep.cli.records.record import BadHeader, BadLine, Record, moment_ms, moment_text
from ringkeep.cli.records.source import LINE_BYTES, Source

NASTY = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.text(alphabet='",;\r\n\0\t \\ä€\ufeff{}', min_size=1, max_size=12).map(str.encode),
)
TYPES = st.sampled_from(["", "text/plain", 'a "b", c'])
STORED = st.lists(
    st.tuples(NASTY, NASTY | st.just(b""), TYPES, st.none() | st.integers(1, 10**12)), max_size=8
)
Stored = tuple[bytes, bytes, str, int | None]


def listed(rows: Iterable[Stored]) -> list[bytes]:
    """Return the lines in which a node lists such records."""
    lines = []
    for number, (key, value, content_type, ttl) in enumerate(rows, 1):
        said: dict[str, object] = {**named("key", key), "version": number}
        if ttl is not None:
            said["ttl"] = ttl
        said |= named("value", value)
        lines.append(json.dumps({**said, "content_type": content_type}).encode())
    return lines


def named(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def json_reader(data: bytes, lenient: bool = False) -> JsonLinesReader:
    return JsonLinesReader(Source(io.BytesIO(data)), lenient)


def csv_reader(data: bytes, lenient: bool = False) -> CsvReader:
    return CsvReader(Source(io.BytesIO(data)), lenient)


def facts(items: Iterable[Record | BadLine]) -> list[Stored]:
    found = []
    for item in items:
        assert isinstance(item, Record), item
        found.append((item.key, item.value, item.content_type, item.ttl_ms))
    return found


def bad_lines(items: Iterable[Record | BadLine]) -> list[tuple[int, str]]:
    return [(item.line, item.reason) for item in items if isinstance(item, BadLine)]


def exported(rows: Iterable[Stored]) -> bytes:
    source = Source(io.BytesIO(b""))
    lines = listed(rows)
    data = json_lines.begin_line(KeyRange(b"p\xff"), "c", False) + b"".join(line + b"\n" for line in lines)
    source = Source(io.BytesIO(data))
    source.skip_to(len(data), 0)
    return data + json_lines.end_line(len(lines), source.digest())


# --- there and back -------------------------------------------------------------------------------------


@given(STORED)
def test_json_lines_there_and_back(rows: list[Stored]) -> None:
    reader = json_reader(exported(rows))
    assert facts(reader) == rows
    assert (reader.problem, reader.read) == ("", len(rows))


@given(STORED)
def test_csv_there_and_back(rows: list[Stored]) -> None:
    data = csv_rows.header_row(False) + csv_rows.rows_of(listed(rows), False)
    items = list(csv_reader(data))
    assert facts(items) == rows
    raw = b"".join(item.raw for item in items)
    assert csv_rows.header_row(False) + raw == data, "a record knows its own bytes"


@given(STORED)
def test_other_programs_read_the_csv(rows: list[Stored]) -> None:
    data = csv_rows.header_row(False) + csv_rows.rows_of(listed(rows), False)
    found = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    keys = [row["key"].encode() or base64.b64decode(row["key_base64"]) for row in found]
    assert keys == [key for key, *_ in rows]


@given(STORED, st.data())
def test_a_cut_file_never_gives_a_record_that_was_not_there(rows: list[Stored], data: st.DataObject) -> None:
    whole = exported(rows)
    cut = whole[: data.draw(st.integers(len(whole.partition(b"\n")[0]) + 1, len(whole) - 2))]
    reader = json_reader(cut)
    found = [item for item in reader if isinstance(item, Record)]
    assert facts(found) == rows[: len(found)]
    assert reader.problem, "a cut export is noticed"


# --- JSON Lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"key":"k"}', "there is no value"),
        ('{"value":"v"}', "there is no key"),
        ('{"key":"","value":"v"}', "1 to 1024 bytes, this one has 0"),
        ('{"key":"' + "k" * 1025 + '","value":"v"}', "this one has 1025"),
        ('{"key":"k","key_base64":"aw==","value":"v"}', "key and key_base64 contradict"),
        ('{"key":"k","value":"v","value_base64":""}', "value and value_base64 contradict"),
        ('{"key":"k","value_base64":"?"}', "base64"),
        ('{"key":"k","value":1}', "Expected `str | null`, got `int`"),
        ('{"key":"k","value":"v","tll":1}', "there is no member named `tll`"),
        ('{"key":"k","value":"v","ttl":0}', "ttl: 1 to"),
        ('{"key":"k","value":"v","ttl":"1s"}', "Expected `int | null`"),
        ('{"key":"k","value":"v","ttl":1,"expires":"2030-01-01T00:00:00Z"}', "ttl and expires contradict"),
        ('{"key":"k","value":"v","expires":"2030-01-01T00:00:00"}', "names no time zone"),
        ('{"key":"k","value":"v","expires":"soon"}', "write it like"),
        ('{"key":"k","value":"v","content_type":"\\n"}', "printable ASCII"),
        ('{"key":"k","value":"\\ud800"}', "no JSON object"),
        ('{"key":"k","value":"v"', "no JSON object"),
        ("[]", "Expected `object`"),
        ("\xff", "no JSON object in UTF-8"),
    ],
)
def test_a_bad_line_is_told_and_the_next_is_read(line: str, why: str) -> None:
    good = b'{"key":"good","value":""}\n'
    items = list(json_reader(good + b"\n" + line.encode("latin-1") + b"\n" + good))
    [(number, reason)] = bad_lines(items)
    assert number == 3 and why in reason, reason
    assert [type(item) for item in items] == [Record, BadLine, Record]


def test_members_without_a_meaning_are_refused_unless_asked_otherwise() -> None:
    line = b'{"key":"k","value":"v","colour":"red","version":7}'
    assert bad_lines(json_reader(line))
    assert facts(json_reader(line, lenient=True)) == [(b"k", b"v", "", None)]


def test_a_line_that_is_too_long_is_passed_over() -> None:
    long = b'{"key":"k","value":"' + b"v" * (LINE_BYTES + (2 << 20)) + b'"}\n'
    items = list(json_reader(long + b'{"key":"k","value":"v"}'))
    assert [(item.line, type(item)) for item in items] == [(1, BadLine), (2, Record)]


def test_a_byte_order_mark_and_dos_ends_are_no_trouble() -> None:
    data = b'\xef\xbb\xbf{"key":"k","value":"v"}\r\n\r\n'
    assert facts(json_reader(data)) == [(b"k", b"v", "", None)]


def test_an_export_that_was_changed_is_noticed() -> None:
    whole = exported([(b"a", b"1", "", None), (b"b", b"2", "", None)])
    lines = whole.splitlines(keepends=True)
    for broken, why in (
        (whole.replace(b'"1"', b'"7"'), "changed"),
        (b"".join([*lines[:1], *lines[2:]]), "had 2 records, and 1"),
        (b"".join(lines[:-1]), "its last line is missing"),
    ):
        reader = json_reader(broken)
        list(reader)
        assert why in reader.problem
    with pytest.raises(BadHeader, match="format 2"):
        list(json_reader(whole.replace(b'"export": 1', b'"export": 2', 1)))
    part = json_reader(b"".join(lines[1:]))
    assert len(list(part)) == 2 and not part.problem, "records alone promise nothing"
    assert bad_lines(json_reader(whole + lines[1]))


def test_moments() -> None:
    assert moment_ms("1970-01-01T01:00:01.5+01:00") == 1_500
    assert moment_ms(moment_text(1_893_456_000_123)) == 1_893_456_000_123
    line = listed([(b"k", b"v", "", 60_000)])
    [moved] = json_lines.with_moments(line)
    [found] = json_reader(moved)
    assert isinstance(found, Record) and 0 < (found.left_ms() or 0) <= 60_000


# --- CSV ------------------------------------------------------------------------------------------------


def test_csv_of_other_programs() -> None:
    data = b'\xef\xbb\xbfvalue, key \n"a ""b"", c\r\nd",k1\n,k2\n\n\0,k3\n'
    found = [(b"k1", b'a "b", c\r\nd', "", None), (b"k2", b"", "", None), (b"k3", b"\0", "", None)]
    items = list(csv_reader(data))
    assert facts(items) == found
    assert [item.line for item in items] == [2, 4, 6]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"k", "1 cells, and the first row has 4"),
        (b",v,,", "there is no key"),
        (b"k,\xff,,", "the value is not UTF-8"),
        (b"k,v,1s,", "ttl: a number of milliseconds"),
        (b"k,v,,dg==", "contradict"),
        (b"k,,,!", "no base64"),
        (b'k,"v"x,,', "no row of CSV"),
    ],
)
def test_a_bad_row_is_told_and_the_next_is_read(row: bytes, why: str) -> None:
    items = list(csv_reader(b"key,value,ttl,value_base64\n" + row + b"\ngood,,,\n"))
    [(number, reason)] = bad_lines(items)
    assert number == 2 and why in reason, reason
    assert [type(item) for item in items] == [BadLine, Record]


def test_a_quote_that_is_not_closed_is_told_at_its_line() -> None:
    items = list(csv_reader(b'key,value\na,1\nb,"2\nc,3\n'))
    assert [(item.line, type(item)) for item in items] == [(2, Record), (3, BadLine)]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "should name the columns"),
        (b"a,1\n", "should name the columns"),
        (b"key\n", "should name the columns"),
        (b"key,value,colour\n", "no column named 'colour'"),
        (b"key,value,key\n", "twice"),
    ],
)
def test_a_first_row_that_names_no_columns(header: bytes, why: str) -> None:
    with pytest.raises(BadHeader, match=why):
        list(csv_reader(header))
