"""The readers: what somebody wrote in a format comes back the same, whatever the ids; other content is refused."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec.errors import DataError, UserError
from mmgrec.folder import FolderContents, write_contents
from mmgrec.interfaces import Context
from mmgrec.readers import FileSource, source_of
from mmgrec.registry import Registry

pytestmark = pytest.mark.messages

Row = tuple[str, str, int, int]  # user, item, rating, time
Write = Callable[[Path, list[Row]], Path]
REGISTRY = Registry.discover(environ={})


# --------------------------------------------------------------------------- small writers, one for each format


def write_csv(folder: Path, rows: list[Row]) -> Path:
    with open(folder / "log.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rating", "item_id", "user_id", "timestamp"])
        writer.writerows((rating, item, user, time) for user, item, rating, time in rows)
    return folder / "log.csv"


def write_tsv_gz(folder: Path, rows: list[Row]) -> Path:
    with gzip.open(folder / "log.tsv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(["user", "item", "rating", "time"])
        writer.writerows(rows)
    return folder / "log.tsv.gz"


def write_parquet(folder: Path, rows: list[Row]) -> Path:
    polars.DataFrame(rows, schema=["customer_id", "sku", "stars", "ts"], orient="row").write_parquet(
        folder / "x.parquet"
    )
    return folder / "x.parquet"


def write_recbole(folder: Path, rows: list[Row]) -> Path:
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    lines = [f"{user}\t{item}\t{rating}\t{time}.0" for user, item, rating, time in rows]
    (folder / "x.inter").write_bytes("\n".join([head, *lines, ""]).encode())
    return folder


def write_dat(folder: Path, rows: list[Row]) -> Path:
    text = "".join(f"{user}::{item}::{rating}::{time}\n" for user, item, rating, time in rows)
    (folder / "ratings.dat").write_bytes(text.encode())
    return folder


def write_quoted(path: Path, head: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Texts in quotes: before Python 3.13 csv leaves a carriage return bare where lines end otherwise."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"{head}\n")
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)


def write_ratings_csv(folder: Path, rows: list[Row]) -> Path:
    write_quoted(folder / "ratings.csv", "userId,movieId,rating,timestamp", rows)
    return folder


def write_u_data(folder: Path, rows: list[Row]) -> Path:
    (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return folder


def write_reviews_2014(folder: Path, rows: list[Row]) -> Path:
    lines = [
        json.dumps({"reviewerID": u, "asin": i, "helpful": [0, 1], "overall": float(r), "unixReviewTime": t})
        for u, i, r, t in rows
    ]
    (folder / "reviews.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder / "reviews.json.gz"


def write_reviews_2023(folder: Path, rows: list[Row]) -> Path:
    lines = [
        json.dumps(
            {"rating": r, "asin": "x", "parent_asin": i, "user_id": u, "timestamp": t, "images": [{"a": "b"}]},
            ensure_ascii=False,
        )
        for u, i, r, t in rows
    ]
    (folder / "reviews.jsonl").write_bytes("\n".join(lines).encode())
    return folder


def write_reviews_2018(folder: Path, rows: list[Row]) -> Path:
    text = "".join(f"{item},{user},{rating}.0,{time}\n" for user, item, rating, time in rows)
    (folder / "Toys.csv").write_text(text)
    return folder / "Toys.csv"


def write_pairs(folder: Path, rows: list[Row]) -> Path:
    pairs = ((user, item, time) for user, item, _, time in rows)
    write_quoted(folder / "MicroLens-50k_pairs.csv", "user,item,timestamp", pairs)
    return folder


def write_mmrec(folder: Path, rows: list[Row]) -> Path:
    head = "userID\titemID\trating\ttimestamp\tx_label"
    lines = [f"{user}\t{item}\t{rating}\t{time}\t0" for user, item, rating, time in rows]
    (folder / "baby.inter").write_text("\n".join([head, *lines, ""]))
    return folder


# --------------------------------------------------------------------------- ids that make trouble

ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
NUMBERS = ("1", "01", "1.0", " 1", "1e3", "NA", "null", "None", "nan", "true", "=1+1", "-")
SIGNS = ('"', "'", ",", "a,b", 'x"y', "[bold]x[/bold]", "\x1b[31m", "<script>", "\u202e", "#x", "\\", "{}")
WORDS = ("é", "e\u0301", "日本", "🦊", "user_id", "user")
TROUBLE = st.sampled_from([*NUMBERS, *SIGNS, *WORDS])
PLAIN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r:\x00\x01\ufeff"), min_size=1, max_size=5
)
LINES = st.one_of(TROUBLE, PLAIN)
FREE = st.one_of(TROUBLE, ANY)
DIGITS = st.integers(0, 120).map(str)
USERS_2018 = st.from_regex(r"A[0-9A-Z]{9,12}", fullmatch=True)
ITEMS_2018 = st.from_regex(r"[0-9A-Z]{10}", fullmatch=True)
CLOCK = st.integers(10**9, 2 * 10**9)

CASES: dict[str, tuple[str, Write, st.SearchStrategy[str], st.SearchStrategy[str]]] = {
    "csv": ("csv", write_csv, FREE, FREE),
    "tsv, packed": ("csv", write_tsv_gz, FREE, FREE),
    "parquet": ("parquet", write_parquet, FREE, FREE),
    "recbole": ("recbole", write_recbole, LINES, LINES),
    "movielens ratings.dat": ("movielens", write_dat, LINES, LINES),
    "movielens ratings.csv": ("movielens", write_ratings_csv, FREE, FREE),
    "movielens u.data": ("movielens", write_u_data, DIGITS, DIGITS),
    "amazon 2014": ("amazon-reviews", write_reviews_2014, FREE, FREE),
    "amazon 2023": ("amazon-reviews", write_reviews_2023, FREE, FREE),
    "amazon 2018": ("amazon-reviews", write_reviews_2018, USERS_2018, ITEMS_2018),
    "microlens": ("microlens", write_pairs, FREE, FREE),
    "mmrec": ("mmrec", write_mmrec, DIGITS, DIGITS),
}


def read(path: Path, name: str = "", **more: object) -> tuple[str, FolderContents]:
    format_name, _, source = source_of(path, more, name=name, registry=REGISTRY)
    return format_name, source.contents()


def expected(rows: list[Row]) -> dict[tuple[str, str], int]:
    """Pair -> its earliest time."""
    earliest: dict[tuple[str, str], int] = {}
    for user, item, _, time in rows:
        earliest[user, item] = min(time, earliest.get((user, item), time))
    return earliest


def told_by(contents: FolderContents) -> dict[tuple[str, str], int]:
    assert contents.user_ids is not None
    assert contents.item_ids is not None
    assert contents.timestamp is not None
    names = [(contents.user_ids[u], contents.item_ids[i]) for u, i in zip(contents.user, contents.item, strict=True)]
    assert len(set(names)) == len(names)
    return dict(zip(names, contents.timestamp.tolist(), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_what_was_written_comes_back(case: str) -> None:
    name, write, users, items = CASES[case]
    row = st.tuples(users, items, st.integers(1, 5), CLOCK)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(rows=st.lists(row, min_size=1, max_size=12))
    def holds(rows: list[Row]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            format_name, contents = read(write(Path(folder), rows))
        assert format_name == name
        assert told_by(contents) == expected(rows)
        assert list(contents.user_ids or ()) == sorted({user for user, *_ in rows})
        assert list(contents.item_ids or ()) == sorted({item for _, item, *_ in rows})
        key = list(zip(contents.user, contents.timestamp, contents.item, strict=True))  # type: ignore[arg-type]
        assert key == sorted(key)

    holds()


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(LINES, LINES, st.integers(1, 5), CLOCK), min_size=3, max_size=20),
    seed=st.integers(0, 99),
)
def test_the_same_content_gives_the_same_bytes_in_any_format_and_order(rows: list[Row], seed: int) -> None:
    rows = [*rows, ("u", "i", 5, 10**9)]
    tables: dict[str, dict[str, bytes]] = {}
    with tempfile.TemporaryDirectory() as home:
        for number, write in enumerate((write_csv, write_tsv_gz, write_parquet, write_recbole, write_reviews_2014)):
            folder = Path(home) / write.__name__
            folder.mkdir()
            mixed = [rows[row] for row in np.random.default_rng(seed + number).permutation(len(rows))]
            _, contents = read(write(folder, mixed))
            write_contents(contents, folder / "out")
            files = sorted((folder / "out").iterdir())
            tables[write.__name__] = {file.name: file.read_bytes() for file in files}
    first, *others = tables.values()
    assert set(first) == {"interactions.parquet", "items.parquet", "users.parquet"}
    assert all(other == first for other in others)


# --------------------------------------------------------------------------- particular cases


def lines(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pairs(contents: FolderContents) -> set[tuple[str, str]]:
    users, items = contents.user_ids or (), contents.item_ids or ()
    return {(users[u], items[i]) for u, i in zip(contents.user, contents.item, strict=True)}


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
def test_a_table_without_names_is_user_item_rating_time(tmp_path: Path, separator: str) -> None:
    rows = ["7,x1,4.5,1400000000", "7,x2,1.0,1400000001", "08,x1,3.0,1400000002"]
    _, contents = read(lines(tmp_path / "a.csv", "\n".join(rows).replace(",", separator)))
    assert pairs(contents) == {("7", "x1"), ("7", "x2"), ("08", "x1")}
    assert contents.timestamp is not None
    assert contents.timestamp.tolist() == [1400000002, 1400000000, 1400000001]


def test_columns_can_be_named_by_place_where_there_are_no_names(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.csv", "x,9,u\ny,8,u\n")
    assert pairs(read(file, user_column="3", item_column="1")[1]) == {("u", "x"), ("u", "y")}


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.csv", "who,what,user\na,x,1\nb,y,2\n")
    assert pairs(read(file, user_column="who", item_column="what")[1]) == {("a", "x"), ("b", "y")}


def test_a_least_rating_drops_rows(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.csv", "user,item,rating\na,x,4\na,y,3.5\nb,x,5\n")
    assert pairs(read(file, min_rating=4.0)[1]) == {("a", "x"), ("b", "x")}
    assert len(read(file)[1].user) == 3


@pytest.mark.parametrize(
    ("times", "numbers"),
    [
        (["2020-01-01", "1970-01-02"], [1577836800000, 86400000]),
        (["2020-01-01T00:00:01Z", "1970-01-02 00:00:00.5"], [1577836801000, 86400500]),
        (["1.5", "2"], [1500000, 2000000]),
        (["3.0", "2"], [3, 2]),
        (["-3", "0"], [-3, 0]),
    ],
)
def test_times_become_whole_numbers(tmp_path: Path, times: list[str], numbers: list[int]) -> None:
    file = lines(tmp_path / "a.csv", f"user,item,time\na,x,{times[0]}\nb,x,{times[1]}\n")
    timestamp = read(file)[1].timestamp
    assert timestamp is not None
    assert timestamp.tolist() == numbers


def test_typed_columns_of_parquet(tmp_path: Path) -> None:
    import datetime

    day = datetime.datetime(2020, 1, 1)
    polars.DataFrame({"user": [1, 2], "item": [3.0, 4.0], "date": [day, day]}).write_parquet(tmp_path / "a.parquet")
    _, contents = read(tmp_path / "a.parquet")
    assert pairs(contents) == {("1", "3"), ("2", "4")}
    assert contents.timestamp is not None
    assert contents.timestamp.tolist() == [1577836800000] * 2


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.csv", "user,item,split\na,x,train\na,y,val\nb,x,test\n")
    part = read(file)[1].part
    assert part is not None
    assert part.tolist() == [0, 1, 2]


def test_a_pair_in_two_parts_is_kept_in_one(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.csv", "user,item,split\na,x,test\na,x,train\nb,x,test\n")
    part = read(file)[1].part
    assert part is not None
    assert part.tolist() == [0, 2]


def test_recbole_titles_and_categories(tmp_path: Path) -> None:
    write_recbole(tmp_path, [("a", "x", 1, 1), ("a", "y", 1, 2)])
    lines(tmp_path / "x.item", 'item_id:token\tname:token_seq\tcategories:token_seq\ny\tA "quoted\tp q\nz\tno\tno\n')
    _, contents = read(tmp_path)
    assert contents.item_titles == ["", 'A "quoted']
    assert contents.item_texts == {"category": ["", "p q"]}


def test_movielens_titles_may_be_latin_1(tmp_path: Path) -> None:
    write_dat(tmp_path, [("1", "10", 5, 978300760)])
    lines(tmp_path / "movies.dat", "10::Léon: The Professional (1994)::Crime|Drama\n".encode("latin-1"))
    _, contents = read(tmp_path)
    assert contents.item_titles == ["Léon: The Professional (1994)"]
    assert contents.item_texts["category"] == ["Crime|Drama"]


def test_movielens_100k_titles(tmp_path: Path) -> None:
    write_u_data(tmp_path, [("196", "242", 3, 881250949)])
    lines(tmp_path / "u.item", "242|Kolya (1996)|24-Jan-1997||http://x|0|1\n")
    assert read(tmp_path)[1].item_titles == ["Kolya (1996)"]


def test_microlens_titles(tmp_path: Path) -> None:
    write_pairs(tmp_path, [("1", "10", 1, 10**12)])
    lines(tmp_path / "MicroLens-50k_titles.csv", 'item,title\n10,"One, two"\n')
    assert read(tmp_path)[1].item_titles == ["One, two"]


def test_mmrec_features_follow_the_items_and_names_come_from_the_mappings(tmp_path: Path) -> None:
    head = "userID\titemID\trating\ttimestamp\tx_label\n"
    lines(tmp_path / "b.inter", head + "0\t10\t1\t5\t0\n0\t2\t1\t6\t1\n1\t2\t1\t7\t2\n")
    np.save(tmp_path / "image_feat.npy", np.arange(22, dtype=np.float64).reshape(11, 2))
    lines(tmp_path / "i_id_mapping.csv", "asin\titemID\n" + "".join(f"B{n}\t{n}\n" for n in range(11)))
    _, contents = read(tmp_path)
    assert contents.item_ids == ["B10", "B2"]
    assert contents.user_ids == ["0", "1"]
    assert contents.features["image"].tolist() == [[20.0, 21.0], [4.0, 5.0]]
    assert contents.part is not None
    assert contents.part.tolist() == [0, 1, 2]


def test_a_source_loads_for_a_run(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", 1, 10**9 + item) for user in range(4) for item in range(user, user + 5)]
    source = REGISTRY.load("dataset", "csv")(path=str(write_csv(tmp_path, rows)), split="leave-one-out")
    data = source.load(Context())
    assert (data.name, data.num_users, data.num_items) == ("log", 4, 8)
    assert [data.item_id(item) for item in data.test.item.tolist()] == ["i4", "i5", "i6", "i7"]


# --------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "", "a.csv: is empty; give a file with rows."),
        ("a.csv", "user,item\n", "a.csv: has no rows"),
        ("a.csv", b"user,item\n\xff\xfe,b\n", "a.csv: is of no format that is known, or no UTF-8 text"),
        ("a.csv", "user,item\n1,b\n1,b,c,d\n", "a.csv: line 3 has 4 fields, the first line has 2; mend that line"),
        ("a.csv", "user,item\n1\n", "a.csv: row 1 has no item; drop or mend it."),
        ("a.csv", 'user,item\n"1,b\n', "a.csv: cannot be read as a table"),
        ("a.csv", "user,item,time\n1,b,noon\n", "a.csv: row 1 has the timestamp 'noon'; a number or an ISO date"),
        ("a.csv", "user,item,rating\n1,b,good\n", "a.csv: row 1 has the rating 'good'; a number is wanted."),
        ("a.csv", "user,item,split\n1,b,dev\n", "a.csv: row 1 has the split 'dev'"),
        ("a.csv", "user,item,split\n1,b,test\n", "a.csv: the split has no training rows"),
        ("a.csv", "colour,user\nred,3\n", "a.csv: no column looks like the item; there are colour, user; name it with"),
        ("a.jsonl", '{"reviewerID": "a"}\n', "a.jsonl: is of no format that is known"),
        (
            "a.bin",
            b"\x80\x02}",
            "a.bin: is no table of users and items, and pickles are never loaded; a pickle can run",
        ),
        ("a.NPY", b"\x93NUMPY", "so write it as CSV or Parquet where it was made."),
        ("a.dat", b"\x80\x02}", "a.dat: is of no format that is known"),
        ("a.gz", b"no gzip", "a.gz: is of no format that is known"),
    ],
)
def test_unsound_files_are_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(Path(name), content)
    with pytest.raises(DataError) as error:
        read(Path(name))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_json_lines_name_the_line(tmp_path: Path) -> None:
    good = json.dumps({"reviewerID": "u", "asin": "i", "overall": 5, "unixReviewTime": 10**9})
    with pytest.raises(DataError) as error:
        read(lines(tmp_path / "a.json", f"{good}\nnot json\n"))
    assert "line 2" in error.value.what
    with pytest.raises(DataError) as error:
        read(lines(tmp_path / "b.json", good + "\n" + good.replace('"i"', "null")))
    assert "row 2" in error.value.what
    assert "item" in error.value.what


def test_an_unknown_column_suggests_one(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read(lines(tmp_path / "a.csv", "user,item\n1,b\n"), user_column="usr")
    assert "'usr'" in error.value.what
    assert "'user'" in error.value.remedy


def test_settings_that_a_format_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(write_dat(tmp_path, [("1", "2", 3, 10**9)]), user_column="x")
    assert "movielens" in str(error.value)
    assert "--user-column" in str(error.value)


def test_a_data_folder_needs_no_import(tmp_path: Path) -> None:
    (tmp_path / "interactions.parquet").touch()
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert "--data" in error.value.remedy


def test_a_folder_of_several_tables_is_not_guessed_at(tmp_path: Path) -> None:
    lines(tmp_path / "a.csv", "user,item\n1,b\n")
    lines(tmp_path / "b.csv", "user,item\n1,b\n")
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert "file" in error.value.remedy


def test_every_reader_says_what_it_is() -> None:
    readers = {
        name: cls for name in REGISTRY.names("dataset") if issubclass(cls := REGISTRY.load("dataset", name), FileSource)
    }
    assert set(readers) == {name for name, *_ in CASES.values()}
    assert [name for name, cls in readers.items() if cls.general] == ["csv"]
