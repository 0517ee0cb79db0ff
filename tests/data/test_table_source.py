"""Tables as people and programs write them."""

import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from transferkit.data.table_source import list_table
from transferkit.errors import DataError, PictureError
from transferkit.recipe.source import CsvSource, JsonlSource, ParquetSource


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures 0.png to 5.png."""
    for number in range(6):
        Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def csv_of(folder, text, *, multi_label=False, encoding="utf-8", **settings):
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return list_table(CsvSource(path=str(path), **settings), multi_label=multi_label)


def jsonl_of(folder, *rows, multi_label=False, **settings):
    path = folder / "labels.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return list_table(JsonlSource(path=str(path), **settings), multi_label=multi_label)


def parquet_of(folder, columns, *, multi_label=False, **settings):
    import pyarrow
    from pyarrow import parquet

    path = folder / "labels.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return list_table(ParquetSource(path=str(path), **settings), multi_label=multi_label)


def classes_of(listing):
    return {one.path: tuple(listing.class_names[label] for label in one.labels) for one in listing.pictures}


def reasons_of(listing):
    return [(one.path, one.reason) for one in listing.skipped]


PLAIN = "path,label\n0.png,cat\n1.png,dog\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: csv_of(folder, PLAIN),
        lambda folder: csv_of(folder, PLAIN, encoding="utf-8-sig"),
        lambda folder: csv_of(folder, PLAIN.replace("\n", "\r\n")),
        lambda folder: csv_of(folder, PLAIN.replace(",", ";")),
        lambda folder: csv_of(folder, PLAIN.replace(",", "\t")),
        lambda folder: csv_of(folder, "label, path\n cat ,0.png\n\ndog,1.png"),
        lambda folder: jsonl_of(folder, {"path": "0.png", "label": "cat"}, "", {"label": "dog", "path": "1.png"}),
        lambda folder: parquet_of(folder, {"path": ["0.png", "1.png"], "label": ["cat", "dog"]}),
    ],
    ids=["plain", "BOM", "Windows", "semicolons", "tabs", "spaces and gaps", "jsonl", "parquet"],
)
def test_every_form_of_a_table_gives_the_same_listing(folder, make):
    listing = make(folder)

    assert listing.class_names == ("cat", "dog")
    assert classes_of(listing) == {"0.png": ("cat",), "1.png": ("dog",)}
    assert [one.label for one in listing.pictures] == [0, 1]
    assert listing.skipped == ()
    assert list(listing.read([1])) == [(folder / "1.png").read_bytes()]
    assert all(stamp and str(folder) in stamp for stamp in listing.stamps())


def test_a_byte_order_mark_with_windows_line_ends_is_no_part_of_a_name(folder):
    path = folder / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbfpath,label\r\n0.png,cat\r\n1.png,dog\r\n")

    listing = list_table(CsvSource(path=str(path)), multi_label=False)

    assert classes_of(listing) == {"0.png": ("cat",), "1.png": ("dog",)}


def test_paths_are_relative_to_the_root_where_one_is_given(folder):
    deep = folder / "tables"
    deep.mkdir()
    text = f"path,label\n../2.png,a\n{folder / '3.png'},b\n"

    beside = csv_of(deep, text)
    rooted = csv_of(deep, "path,label\n2.png,a\n3.png,b\n", root=str(folder))

    assert [one.path for one in beside.pictures] == ["../2.png", str(folder / "3.png")]
    assert list(rooted.read([0, 1])) == list(beside.read([0, 1]))


def test_a_root_that_is_not_there_is_named(folder):
    with pytest.raises(DataError, match="nowhere: no such folder, which data.source.root names"):
        csv_of(folder, PLAIN, root=str(folder / "nowhere"))


def test_odd_paths_are_found(folder):
    odd = ["with space.PNG", 'quote"s.png', "ünï😀.png", "-dash.png", "new\nline.png", "no_extension", "comma,.png"]
    for name in odd:
        Image.new("RGB", (8, 8)).save(folder / name, format="PNG")
    quoted = "".join('"{}",cat\n'.format(name.replace('"', '""')) for name in odd)

    listing = csv_of(folder, f"path,label\n{quoted}0.png,dog\n")

    assert [one.path for one in listing.pictures] == [*odd, "0.png"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (r"deep\1.png", "deep/1.png"),
        (r".\deep\1.png", "./deep/1.png"),
        ("deep/ü.png", "deep/u\u0308.png"),
        ("deep/u\u0308.png", "deep/ü.png"),
        (" deep/1.png ", "deep/1.png"),
    ],
    ids=["Windows", "Windows, from here", "macOS file", "macOS table", "space"],
)
def test_paths_are_found_as_people_and_other_systems_write_them(folder, written, name):
    (folder / "deep").mkdir()
    (folder / "0.png").rename(folder / name)

    listing = csv_of(folder, f"path,label\n{written},a\n1.png,b\n")

    assert [one.path for one in listing.pictures] == [name, "1.png"]
    assert list(listing.read([0])) == [(folder / name).read_bytes()]
    assert next(listing.stamps())


def test_a_name_with_a_backslash_is_found_as_it_is(folder):
    (folder / "deep").mkdir()
    (folder / "0.png").rename(folder / r"deep\1.png")
    (folder / "2.png").rename(folder / "deep" / "1.png")

    listing = csv_of(folder, "path,label\ndeep\\1.png,a\n1.png,b\n")

    assert list(listing.read([0])) == [(folder / r"deep\1.png").read_bytes()]


def test_a_path_may_begin_in_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "tables").mkdir()

    listing = csv_of(folder / "tables", "path,label\n~/0.png,a\n../1.png,b\n")

    assert [one.path for one in listing.pictures] == ["~/0.png", "../1.png"]
    assert list(listing.read([0])) == [(folder / "0.png").read_bytes()]


def test_a_name_that_is_no_utf8_spoils_no_other_row(folder):
    os.rename(folder / "2.png", os.fsencode(folder) + b"/\xff.png")
    path = folder / "labels.csv"
    path.write_bytes(b"path,label\n0.png,cat\n\xff.png,dog\n1.png,caf\xe9\n")

    listing = list_table(CsvSource(path=str(path)), multi_label=False)

    assert classes_of(listing) == {"0.png": ("cat",), "\\udcff.png": ("dog",)}
    assert reasons_of(listing) == [("1.png", r"line 4: label 'caf\udce9' is no UTF-8; save the table as UTF-8")]


def test_split_weight_and_group_columns_are_used_where_they_are(folder):
    listing = csv_of(
        folder,
        "path,label,split,weight,group\n0.png,a,Training,0.5,p1\n1.png,b,VAL,,\n2.png,b,test,2,7\n3.png,a,,1,p1\n4.png,a,valid\n",
    )

    assert [(one.split, one.weight, one.group) for one in listing.pictures] == [
        ("train", 0.5, "p1"),
        ("validation", 1.0, None),
        ("test", 2.0, "7"),
        (None, 1.0, "p1"),
        ("validation", 1.0, None),
    ]


def test_columns_have_the_names_that_the_recipe_says(folder):
    rows = [{"file": f"{number}.png", "species": "ab"[number % 2], "part": "test", "id": 3} for number in range(2)]

    listing = jsonl_of(
        folder, *rows, path_column="file", label_column="species", split_column="part", group_column="id"
    )

    assert classes_of(listing) == {"0.png": ("a",), "1.png": ("b",)}
    assert {(one.split, one.group) for one in listing.pictures} == {("test", "3")}


def test_capitals_of_column_names_do_not_matter(folder):
    listing = csv_of(folder, "Path,LABEL,Split\n0.png,a,Train\n1.png,b,Test\n")

    assert [(one.path, one.split) for one in listing.pictures] == [("0.png", "train"), ("1.png", "test")]


def test_two_columns_that_differ_in_capitals_are_told_apart(folder):
    listing = csv_of(folder, "path,label,Label\n0.png,a,x\n1.png,b,x\n")

    assert listing.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("label", "names"),
    [("\"['a', 'b']\"", ("a", "b")), ("['a' 'b']", ("a", "b")), ("[]", ()), ("[x]", ("[x]",)), ("a;b", ("a", "b"))],
)
def test_lists_as_python_writes_them_are_lists_of_classes(folder, label, names):
    listing = csv_of(folder, f"path,label\n0.png,{label}\n1.png,c;d\n", multi_label=True)

    assert tuple(listing.class_names[one] for one in listing.pictures[0].labels) == names


def test_labels_that_something_else_than_the_separator_divides_are_warned_of(folder, caplog):
    csv_of(folder, "path,label\n0.png,a b\n1.png,b|c\n2.png,c\n", multi_label=True)

    assert "no label contains ';', and each is taken for one class, such as 'a b'" in caplog.text


@pytest.mark.parametrize(
    ("header", "settings", "says"),
    [
        ("path,labels", {}, "no column 'label' (did you mean 'labels'?)\n    columns: path, labels\nSay which it is"),
        ("image_path,label", {}, "no column 'path' (did you mean 'image_path'?)"),
        ("image_path,labels", {"root": "."}, "root: ., path_column: image_path, label_column: labels}"),
        ("image,labels", {"path_column": "image"}, "path_column: image, label_column: labels}"),
        ("path,label", {"weight_column": "w"}, "no column 'w'\n    columns: path, label"),
        ("path,cat,dog", {}, "Where each class has a column of its own, write the names"),
        ("path,label,label", {}, "has 2 columns called 'label'; rename or remove the others"),
    ],
)
def test_a_missing_column_is_told_with_those_there_are(folder, header, settings, says):
    with pytest.raises(DataError) as caught:
        csv_of(folder, f"{header}\n0.png,a\n", **settings)

    assert says in str(caught.value)


def test_a_label_that_is_a_number_is_its_text(folder):
    from_json = jsonl_of(folder, *({"path": f"{row}.png", "label": one} for row, one in enumerate([7, 7.0, "7", 7.5])))
    from_csv = csv_of(folder, "path,label\n0.png,7\n1.png,7\n2.png,07\n")
    from_parquet = parquet_of(folder, {"path": ["0.png", "1.png"], "label": [7.0, 8.0]})

    assert list(classes_of(from_json).values()) == [("7",), ("7",), ("7",), ("7.5",)]
    assert from_csv.class_names == ("07", "7")
    assert from_parquet.class_names == ("7", "8")


def test_labels_are_what_they_are_in_every_type_of_a_parquet_column(folder):
    import pyarrow as arrow

    paths = [f"{number}.png" for number in range(3)]
    columns = [
        (arrow.array(["a b", "c", None], arrow.large_string()), ["a b", "c"]),
        (arrow.array(["a b", "c", None]).dictionary_encode(), ["a b", "c"]),
        (arrow.array([b"a b", b"c", b""]), ["a b", "c"]),
        (arrow.array([1, 0, None], arrow.int8()), ["1", "0"]),
        (arrow.array([1, 0, float("nan")], arrow.float32()), ["1", "0"]),
        (arrow.array([True, False, None]), ["True", "False"]),
    ]

    for labels, names in columns:
        for kind in (arrow.string(), arrow.large_string(), arrow.binary()):
            listing = parquet_of(folder, {"path": arrow.array(paths, kind), "label": labels})

            assert list(classes_of(listing).items()) == [(paths[0], (names[0],)), (paths[1], (names[1],))]
            assert [reason for _, reason in reasons_of(listing)] == ["row 3: has no label"]


def test_an_index_column_and_names_with_dots_do_no_harm(folder):
    columns = {"image.path": ["0.png", "1.png"], "label": ["a", "b"], "__index_level_0__": [7, 9]}

    assert classes_of(parquet_of(folder, columns, path_column="image.path")) == {"0.png": ("a",), "1.png": ("b",)}


@pytest.mark.parametrize(
    "rows", [[[0, 1, 0], [1, 0, 1]], [[1.0, 0.0], [0.0, 1.0]], [[True, False], [], [None]], [[0, 0]]]
)
def test_rows_of_zeros_and_ones_are_no_lists_of_classes(folder, rows):
    with pytest.raises(DataError, match="column 'label' holds rows of zeros and ones"):
        jsonl_of(folder, *({"path": f"{row}.png", "label": one} for row, one in enumerate(rows)), multi_label=True)


@pytest.mark.parametrize("others", [[[0, 2]], [[0]], [[0, 1, 1]], ["1"], [["cat", "1"]]])
def test_a_single_label_of_zeros_and_ones_may_mean_these_classes(folder, others):
    rows = [[1, 1], [0, 1], *others]

    listing = jsonl_of(
        folder, *({"path": f"{row}.png", "label": one} for row, one in enumerate(rows)), multi_label=True
    )

    assert list(classes_of(listing).values())[:2] == [("1",), ("0", "1")]
    assert listing.skipped == ()


def test_lists_of_classes_may_be_numbers(folder):
    listing = jsonl_of(folder, {"path": "0.png", "label": [0, 1]}, {"path": "1.png", "label": [7, 7]}, multi_label=True)

    assert classes_of(listing) == {"0.png": ("0", "1"), "1.png": ("7",)}


@pytest.mark.parametrize("content", ["path,label\n", "path,label\r\n\r\n"])
def test_a_table_without_rows_says_so(folder, content):
    with pytest.raises(DataError, match="labels.csv: has no rows"):
        csv_of(folder, content)


def test_where_paths_are_looked_up_is_told_where_they_are_the_fault(folder):
    with pytest.raises(DataError, match="Paths are looked up in .*; another folder can be given as root"):
        csv_of(folder, "path,label\ngone.png,a\n")
    with pytest.raises(DataError) as caught:
        csv_of(folder, "path,label\n0.png,\n")

    assert str(caught.value).endswith("none of 1 rows can be used.\n  0.png: line 2: has no label")
    with pytest.raises(DataError, match="set split_column to another one, or to '' for none"):
        csv_of(folder, "path,label,split\n0.png,a,3\n")


def test_a_decimal_comma_in_a_weight_is_one(folder):
    listing = csv_of(folder, "path;label;weight\n0.png;a;1,5\n1.png;b;0,25\n")

    assert [one.weight for one in listing.pictures] == [1.5, 0.25]


@pytest.mark.parametrize("what", ["split", "weight", "group"])
def test_a_column_that_means_something_else_can_be_left_alone(folder, what):
    text = f"path,label,{what}\n0.png,a,7\n1.png,b,7\n"

    listing = csv_of(folder, text, **{f"{what}_column": ""})

    assert [(one.split, one.weight, one.group) for one in listing.pictures] == [(None, 1.0, None)] * 2
    assert listing.skipped == ()


def test_files_are_not_kept_as_paths(folder):
    rows = "".join(f"{number}.png,a\n" for number in range(6))
    (folder / "many").mkdir()
    for number in range(1000):
        (folder / "many" / f"{number}.png").touch()
        rows += f"many/{number}.png,b\n"
    csv_of(folder, f"path,label\n{rows}")
    tracemalloc.start()

    listing = csv_of(folder, f"path,label\n{rows}")
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    own_bytes = sum(sys.getsizeof(one) + sys.getsizeof(one.path) + 8 for one in listing.pictures)
    assert held_bytes < 1.6 * own_bytes


def test_bad_rows_are_left_out_with_their_line_and_the_reason(folder):
    (folder / "inner.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    listing = csv_of(
        folder,
        "path,label,split,weight\n"
        "0.png,cat,,\n"
        "gone.png,cat,,\n"
        "1.png, ,,\n"
        "2.png,cat,,heavy\n"
        "2.png,cat,,-1\n"
        "3.png,cat,holdout,\n"
        '"4.png","two\nlines",,\n'
        ",cat,,\n"
        "5.png,dog,,,extra,more\n"
        "inner.png,cat,,\n"
        "pipe.png,cat,,\n"
        "circle.png,cat,,\n"
        '"4.png"x,cat,,\n'
        "5.png\n"
        "5.png,dog,,\n",
    )

    assert classes_of(listing) == {"0.png": ("cat",), "5.png": ("dog",)}
    assert reasons_of(listing) == [
        ("gone.png", "line 3: cannot be read: No such file or directory"),
        ("1.png", "line 4: has no label"),
        ("2.png", "line 5: weight 'heavy' is no number from 0 on"),
        ("2.png", "line 6: weight '-1' is no number from 0 on"),
        ("3.png", "line 7: split 'holdout' is none of train, training, validation, valid, val, test, testing"),
        ("4.png", r"line 8: label 'two\nlines' is not printable"),
        ("labels.csv", "line 10: has no path"),
        ("labels.csv", "line 11: has 6 fields, the header has 4"),
        ("inner.png", "line 12: is no ordinary file"),
        ("pipe.png", "line 13: is no ordinary file"),
        ("circle.png", "line 14: cannot be read: Too many levels of symbolic links"),
        ("labels.csv", "line 15: is no CSV: ',' expected after '\"'"),
        ("5.png", "line 16: has no label"),
    ]


@pytest.mark.parametrize("value", ['{"path": "1.png"', "7", "[1]", "[" * 100_000, '"text"', "\x00"])
def test_a_line_that_is_no_json_object_is_left_out(folder, value):
    listing = jsonl_of(folder, {"path": "0.png", "label": "a"}, value)

    assert reasons_of(listing) == [("labels.jsonl", "line 2: is no JSON object")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": "a"}, "has no path"),
        ({"path": " ", "label": "a"}, "has no path"),
        ({"path": 7, "label": "a"}, "holds a number where a path is meant"),
        ({"path": {"bytes": "x"}, "label": "a"}, "holds a dict where text or a number is meant"),
        ({"path": "1.png"}, "has no label"),
        ({"path": "1.png", "label": None}, "has no label"),
        ({"path": "1.png", "label": {"a": 1}}, "holds a dict where text or a number is meant"),
        ({"path": "1.png", "label": "a", "weight": float("nan")}, None),
        ({"path": "1.png", "label": "a", "weight": float("inf")}, "weight 'inf' is no number from 0 on"),
        ({"path": "1.png\x00", "label": "a"}, "embedded null byte"),
        ({"path": "\ud800.png", "label": "a"}, "surrogates not allowed"),
    ],
)
def test_a_json_row_of_other_types_is_left_out(folder, row, reason):
    listing = jsonl_of(folder, {"path": "0.png", "label": "a"}, row)

    assert len(listing.pictures) == (2 if reason is None else 1)
    assert [text for _, text in reasons_of(listing)] == ([] if reason is None else [listing.skipped[0].reason])
    assert reason is None or reason in listing.skipped[0].reason


@pytest.mark.parametrize("what", ["path", "label", "group", "other"])
def test_a_line_of_a_megabyte_stops_nothing(folder, what):
    cells = {"path": "1.png", "label": "b", "group": "g", "other": "x"} | {what: "x" * 2**20}

    listing = csv_of(folder, f"path,label,group,other\n{','.join(cells.values())}\n0.png,a,,\n2.png,b,,\n")

    assert {"0.png", "2.png"} <= set(classes_of(listing))
    assert (len(listing.pictures) == 3) == (what in ("group", "other"))
    assert all(len(one.path) + len(one.reason) < 500 for one in listing.skipped)


def test_duplicate_rows_count_once(folder):
    listing = csv_of(folder, f"path,label\n0.png,a\n1.png,b\n0.png,a\n../{folder.name}/0.png,a\n")

    assert classes_of(listing) == {"0.png": ("a",), "1.png": ("b",)}
    assert reasons_of(listing) == [
        ("0.png", "line 4: the same as line 2"),
        (f"../{folder.name}/0.png", "line 5: the same as line 2"),
    ]


def test_of_duplicates_in_several_splits_the_one_that_is_reported_on_stays(folder):
    listing = csv_of(folder, "path,label,split\n0.png,a,train\n1.png,b,train\n0.png,a,test\n")

    assert {one.path: one.split for one in listing.pictures} == {"0.png": "test", "1.png": "train"}
    assert reasons_of(listing) == [("0.png", "line 2: the same as line 4")]


def test_a_picture_with_two_labels_is_left_out_altogether(folder):
    listing = csv_of(folder, "path,label\n0.png,a\n1.png,b\n0.png,c\n2.png,a\n")

    assert classes_of(listing) == {"1.png": ("b",), "2.png": ("a",)}
    assert {reason for _, reason in reasons_of(listing)} == {
        "line 2: labelled a in line 2 but c in line 4",
        "line 4: labelled a in line 2 but c in line 4",
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: csv_of(folder, "path,label\n0.png,b; a;a\n1.png,\n2.png,b\n", multi_label=True),
        lambda folder: csv_of(folder, "path,label\n0.png,b;a;\n1.png,;\n2.png,; ;b\n", multi_label=True),
        lambda folder: csv_of(folder, "path,label\n0.png,b|a\n1.png,\n2.png,b\n", multi_label=True, separator="|"),
        lambda folder: jsonl_of(
            folder,
            {"path": "0.png", "label": ["b", "a"]},
            {"path": "1.png", "label": []},
            {"path": "2.png", "label": "b"},
            multi_label=True,
        ),
        lambda folder: parquet_of(
            folder, {"path": ["0.png", "1.png", "2.png"], "label": [["b", "a"], [], ["b"]]}, multi_label=True
        ),
    ],
    ids=["csv", "empty parts", "separator", "jsonl", "parquet"],
)
def test_a_picture_may_have_several_classes_or_none(folder, make):
    listing = make(folder)

    assert listing.class_names == ("a", "b")
    assert [one.label for one in listing.pictures] == [(0, 1), (), (1,)]


def test_a_row_without_a_list_of_classes_is_no_row_without_classes(folder):
    listing = jsonl_of(
        folder,
        {"path": "0.png", "label": ["a"]},
        {"path": "1.png", "label": None},
        {"path": "2.png", "label": ["a", ""]},
        multi_label=True,
    )

    assert [reason for _, reason in reasons_of(listing)] == [
        "line 2: has no label",
        "line 3: has an empty class among its labels",
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: jsonl_of(folder, {"path": "0.png", "label": ["a"]}),
        lambda folder: parquet_of(folder, {"path": ["0.png"], "label": [["a"]]}),
    ],
    ids=["jsonl", "parquet"],
)
def test_a_list_where_one_class_is_meant_names_the_loss_that_takes_lists(folder, make):
    with pytest.raises(DataError, match="loss: binary_cross_entropy"):
        make(folder)


def test_a_text_with_a_separator_is_one_class_where_one_is_meant(folder):
    assert csv_of(folder, "path,label\n0.png,a;b\n").class_names == ("a;b",)


def test_a_quote_that_is_never_closed_is_refused_since_it_swallows_rows(folder):
    with pytest.raises(DataError, match="the quote that opens in line 3 is never closed"):
        csv_of(folder, 'path,label\n0.png,a\n1.png,"b\n' + "2.png,b\n" * 50_000)


def test_a_json_array_is_no_json_lines(folder):
    with pytest.raises(DataError, match="no line is a JSON object, such as"):
        jsonl_of(folder, '[{"path": "0.png",', '"label": "a"}]')


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0\0", "path,label\n".encode("utf-16"), b"\0\xff" * 50])
def test_a_file_that_is_no_table_is_refused(folder, content):
    for kind in (CsvSource, JsonlSource, ParquetSource):
        path = folder / "table"
        path.write_bytes(content)

        with pytest.raises(DataError, match="table: "):
            list_table(kind(path=str(path)), multi_label=False)


def test_a_truncated_parquet_file_is_refused(folder):
    parquet_of(folder, {"path": ["0.png"], "label": ["a"]})
    whole = (folder / "labels.parquet").read_bytes()
    (folder / "labels.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError, match="is no Parquet file, or is damaged"):
        list_table(ParquetSource(path=str(folder / "labels.parquet")), multi_label=False)


def test_without_pyarrow_a_parquet_table_says_what_to_install(folder, monkeypatch):
    (folder / "labels.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(DataError, match="pip install pyarrow"):
        list_table(ParquetSource(path=str(folder / "labels.parquet")), multi_label=False)


def test_a_parquet_table_reads_no_column_that_nobody_asked_for(folder, monkeypatch):
    from pyarrow import parquet

    asked = []
    read = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        parquet.ParquetFile, "iter_batches", lambda self, columns: asked.append(columns) or read(self, columns=columns)
    )

    parquet_of(folder, {"path": ["0.png"], "bytes": [b"x" * 1000], "label": ["a"]})

    assert asked == [["path", "label"]]


def test_without_one_good_row_the_first_five_reasons_are_told(folder):
    rows = "".join(f"gone{number}.png,a\n" for number in range(7))

    with pytest.raises(DataError, match="none of 7 rows can be used") as caught:
        csv_of(folder, f"path,label\n{rows}")

    assert str(caught.value).count("No such file") == 5
    assert f"Paths are looked up in {folder}; another folder can be given as root." in str(caught.value)


def test_a_missing_table_is_named_with_where_it_was_looked_for(folder):
    with pytest.raises(DataError, match="no such file \\(looked from"):
        list_table(CsvSource(path=str(folder / "nothing.csv")), multi_label=False)
    with pytest.raises(DataError, match="a folder, not a table"):
        list_table(CsvSource(path=str(folder)), multi_label=False)


@pytest.mark.parametrize("kind", [CsvSource, JsonlSource, ParquetSource])
def test_a_table_that_may_not_be_read_is_an_error_of_the_data(folder, kind, monkeypatch):
    path = folder / "table"
    path.write_text(PLAIN)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)

    with pytest.raises(DataError, match="Permission denied"):
        list_table(kind(path=str(path)), multi_label=False)


def test_python_s_limit_on_fields_is_as_before(folder):
    import csv

    before = csv.field_size_limit(1000)

    csv_of(folder, PLAIN)

    assert csv.field_size_limit(before) == 1000


def test_a_file_that_goes_away_after_listing_is_a_reason(folder):
    listing = csv_of(folder, PLAIN)
    (folder / "0.png").unlink()

    first, second = listing.read([0, 1])

    assert isinstance(first, PictureError)
    assert isinstance(second, bytes)
    assert next(listing.stamps()) is None


@pytest.mark.parametrize(
    "rows", ["gone.png,c\n", "2.png,c,holdout\n", "2.png,c\n2.png,a\n"], ids=["no file", "bad split", "two labels"]
)
def test_a_class_whose_rows_are_all_left_out_is_there_without_a_picture(folder, rows):
    listing = csv_of(folder, f"path,label,split\n0.png,a\n1.png,b\n{rows}")

    assert listing.class_names == ("a", "b", "c")
    assert classes_of(listing) == {"0.png": ("a",), "1.png": ("b",)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2", "1", "0"], ("0", "1", "2", "10")),
        (["10", "-2", "02", "2"], ("-2", "02", "2", "10")),
        (["10", "2", "b"], ("10", "2", "b")),
        (["10", "2", "1.5"], ("1.5", "10", "2")),
    ],
)
def test_classes_are_in_the_order_of_their_values_where_all_are_whole_numbers(folder, labels, classes):
    rows = "".join(f"{row}.png,{label}\n" for row, label in enumerate(labels))

    listing = csv_of(folder, f"path,label\n{rows}")

    assert listing.class_names == classes
    assert list(classes_of(listing).values()) == [(label,) for label in labels]


def test_a_row_that_is_left_out_does_not_change_the_order_of_numbers(folder):
    listing = csv_of(folder, "path,label\n0.png,10\n1.png,2\npath,label\n")

    assert listing.class_names == ("2", "10", "label")


def test_labels_with_a_separator_are_told_of_once_where_one_class_is_meant(folder, caplog):
    text = "path,label\n0.png,a;b\n1.png,b\n2.png,a;c\n"

    csv_of(folder, text, separator="|")
    csv_of(folder, text, multi_label=True)
    assert caplog.text == ""
    listing = csv_of(folder, text)

    assert listing.class_names == ("a;b", "a;c", "b")
    assert len(caplog.records) == 1
    assert "2 of 3 labels contain ';', such as 'a;b'" in caplog.text
    assert "need loss: binary_cross_entropy" in caplog.text
