"""Pictures that the recipe leaves out."""

import json
import logging

import pytest

from transferkit.data.exclude import leave_out
from transferkit.data.folder_source import list_folder
from transferkit.errors import DataError


@pytest.fixture
def listing(picture_folder, monkeypatch):
    monkeypatch.chdir(picture_folder.parent)
    return list_folder(picture_folder)


def reasons_of(listing):
    return {one.path: one.reason for one in listing.skipped}


def test_nothing_is_left_out_unasked(listing):
    assert leave_out(listing, None) is listing


@pytest.mark.parametrize(
    "write", ["class_1/3.png", "./class_1//3.png", "photos/class_1/3.png", "{folder}/class_1/3.png"]
)
def test_a_picture_is_left_out_by_its_path(listing, picture_folder, write):
    after = leave_out(listing, [write.format(folder=picture_folder)])

    assert reasons_of(after) == {"class_1/3.png": "excluded by the recipe"}
    assert len(after.pictures) == 23
    position = [one.path for one in after.pictures].index("class_1/4.png")
    assert list(after.read([position])) == [(picture_folder / "class_1" / "4.png").read_bytes()]
    assert str(picture_folder / "class_1" / "4.png") in list(after.stamps())[position]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_lists_one_path_per_line(listing, tmp_path, end):
    path = tmp_path / "bad.txt"
    path.write_bytes(f"\ufeffclass_0/0.png{end}{end}class_2/7.png".encode())

    assert list(reasons_of(leave_out(listing, str(path)))) == ["class_0/0.png", "class_2/7.png"]


def test_space_around_a_path_and_blank_lines_do_not_matter(listing, tmp_path, caplog):
    path = tmp_path / "bad.txt"
    path.write_text(" class_0/0.png  \n   \n\t\n./class_2/7.png \n")

    assert list(reasons_of(leave_out(listing, str(path)))) == ["class_0/0.png", "class_2/7.png"]
    assert caplog.text == ""


def test_space_that_belongs_to_a_name_is_part_of_it(picture_folder):
    (picture_folder / " class_0").mkdir()
    (picture_folder / "class_0" / "0.png").rename(picture_folder / " class_0" / "1.png")

    after = leave_out(list_folder(picture_folder), [" class_0/1.png"])

    assert list(reasons_of(after)) == [" class_0/1.png"]


def test_doctor_s_report_gives_the_reasons(listing, tmp_path):
    path = tmp_path / "doctor.json"
    exclude = [{"path": "class_0/0.png", "reason": "a copy of class_0/1.png"}, {"path": "class_0/2.png"}]
    path.write_text(json.dumps({"findings": [], "exclude": exclude}))

    assert reasons_of(leave_out(listing, str(path))) == {
        "class_0/0.png": "excluded by the recipe: a copy of class_0/1.png",
        "class_0/2.png": "excluded by the recipe",
    }


def test_entries_that_are_no_picture_are_counted_in_one_warning(listing, caplog):
    with caplog.at_level(logging.WARNING):
        after = leave_out(listing, ["class_0/0.png", "class_0/99.png", "nothing"])

    assert len(after.pictures) == 23
    assert [one.message for one in caplog.records] == [
        f"data.exclude: 2 of 3 entries are no picture of {listing.origin}, such as class_0/99.png"
    ]


def test_what_the_source_left_out_itself_is_no_unknown_entry(picture_folder, caplog):
    (picture_folder / "loose.png").write_bytes((picture_folder / "class_0" / "0.png").read_bytes())

    with caplog.at_level(logging.WARNING):
        leave_out(list_folder(picture_folder), ["loose.png"])

    assert caplog.text == ""


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"exclude": 3}', '{"exclude": [3]}', '{"exclude": [{"reason": "x"}]}', "[" * 100_000]
)
def test_a_json_file_that_is_no_report_is_refused(listing, tmp_path, content):
    path = tmp_path / "doctor.json"
    path.write_text(content)

    with pytest.raises(DataError, match="no report of transferkit doctor"):
        leave_out(listing, str(path))


def test_a_missing_list_is_named_with_where_it_was_looked_for(listing):
    with pytest.raises(DataError, match="gone.txt cannot be read: No such file .*looked from"):
        leave_out(listing, "gone.txt")


def test_a_list_that_is_no_text_is_refused(listing, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DataError, match="no UTF-8 text"):
        leave_out(listing, str(tmp_path / "bad.txt"))
