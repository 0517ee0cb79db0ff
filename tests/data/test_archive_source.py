"""Archives from a server on this machine: good ones, and those that somebody made to do harm."""

import errno
import gzip
import hashlib
import io
import multiprocessing
import os
import shutil
import stat
import tarfile
import time
import zipfile

import pytest
from PIL import Image

from transferkit.data import archive_members
from transferkit.data import unpack as unpacking
from transferkit.data.archive_source import _file_name, fetch_archive, find_unpacked, list_archive
from transferkit.download import transfer
from transferkit.errors import DataError
from transferkit.progress import Quiet
from transferkit.recipe.source import ArchiveSource


def draw(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


PICTURES = {f"{name}/{number}.png": draw(10 * number) for name in ("cats", "dogs") for number in range(3)}


def tar(files, compression="", *, special=()) -> bytes:
    """A .tar file; `special` are members of other kinds, which come last."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in special:
            archive.addfile(entry)
    return packed.getvalue()


def zipped(files, *, special=()) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for entry, content in special:
            archive.writestr(entry, content)
    return packed.getvalue()


def member(name, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_HOME", str(tmp_path / "home"))
    for name in ("TRANSFERKIT_MIRROR", "TRANSFERKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ANSWER_S", "STALL_S", "PATIENCE_S"):
        monkeypatch.setattr(transfer, name, 1.0)
    return tmp_path / "home"


@pytest.fixture
def served(web):
    """Puts an archive on the web and gives its source."""

    def serve(content: bytes, name="photos.zip", **settings) -> ArchiveSource:
        web.files[name] = content
        return ArchiveSource(url=web.url(name), **settings)

    return serve


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(source, home) -> str:
    """The error; nothing of the archive is left anywhere, not even beside the home folder."""
    before = set(home.parent.iterdir())
    with pytest.raises(DataError) as caught:
        list_archive(source)
    left = [name for name in files_in(home) if not name.endswith((".lock", ".zip", ".tar"))]
    assert left == []
    assert {path.name for path in home.parent.iterdir()} <= {"home", *(path.name for path in before)}
    return str(caught.value)


# Good ones


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("photos.zip", zipped),
        ("photos.tar", tar),
        ("photos.tar.gz", lambda files: tar(files, "gz")),
        ("photos.tbz", lambda files: tar(files, "bz2")),
        ("photos.tar.xz", lambda files: tar(files, "xz")),
        ("download?id=3", lambda files: tar(files, "gz")),
    ],
    ids=["zip", "tar", "gzip", "bzip2", "xz", "address without a suffix"],
)
def test_archive_is_listed_as_its_folder_would_be(served, name, pack):
    listing = list_archive(served(pack(PICTURES), name))

    assert listing.class_names == ("cats", "dogs")
    assert [picture.path for picture in listing.pictures] == sorted(PICTURES)
    assert list(listing.read(range(6))) == [PICTURES[name] for name in sorted(PICTURES)]


def test_archive_is_downloaded_and_unpacked_once(web, served, home):
    source = served(zipped(PICTURES))

    first, second = list_archive(source), list_archive(source)

    assert first.pictures == second.pictures
    assert list(first.stamps()) == list(second.stamps())
    assert len(web.asked) == 1
    assert not list(home.rglob("*.zip"))


def test_archive_is_on_this_machine_once_it_find_unpacked(served):
    source = served(zipped(PICTURES))

    before = find_unpacked(source)
    list_archive(source)

    assert before is None
    assert find_unpacked(source) == fetch_archive(source)


def test_digest_is_told_so_that_it_can_be_pinned_and_then_holds(web, served):
    lines = []
    content = zipped(PICTURES)
    sha256 = hashlib.sha256(content).hexdigest()
    progress = Quiet()
    progress.say = lines.append
    source = served(content)

    fetch_archive(source, progress=progress)
    fetch_archive(source.model_copy(update={"sha256": sha256}))

    assert sha256 in lines[0]
    assert len(web.asked) == 1


def test_digest_of_a_file_that_is_no_archive_is_not_told(served):
    lines = []
    progress = Quiet()
    progress.say = lines.append

    with pytest.raises(DataError, match="neither"):
        fetch_archive(served(b"<!DOCTYPE html>"), progress=progress)

    assert not any("sha256" in line for line in lines)


def test_other_file_than_the_pinned_one_is_refused_with_both_hashes(served, home):
    content = zipped(PICTURES)

    message = refused(served(content, sha256="0" * 64), home)

    assert "0" * 64 in message
    assert hashlib.sha256(content).hexdigest() in message


def test_new_version_is_unpacked_beside_the_old_one(served):
    old = list_archive(served(zipped(PICTURES)))
    content = zipped({**PICTURES, "cats/new.png": draw(99)})

    new = list_archive(served(content, sha256=hashlib.sha256(content).hexdigest()))

    assert len(new.pictures) == 7
    assert len(old.pictures) == 6
    assert all(isinstance(picture, bytes) for picture in old.read(range(6)))


@pytest.mark.parametrize("name", ["0123456789abcdef", "unpacked", "..", "a/"])
def test_odd_addresses_are_no_trouble(web, served, name, home):
    source = served(zipped(PICTURES), name)
    web.files[""] = web.files[name]  # what a client makes of ".."

    assert [len(list_archive(source).pictures) for _ in range(2)] == [6, 6]
    assert {path.name for path in home.parent.iterdir()} == {"home"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.example/a/photos.tar.gz?download=1#top", "photos.tar.gz"),
        ("https://x.example/%2e%2e%2f%2e%2e%2fup.zip", "up.zip"),
        ("https://x.example/my%20photos%00%0a.zip", "my-photos-.zip"),
        ("https://x.example/.hidden", "hidden"),
        ("https://x.example", "archive"),
    ],
)
def test_archive_is_kept_under_a_plain_name(url, name):
    assert _file_name(url) == name


def test_files_of_one_name_at_two_addresses_are_two(served):
    one = list_archive(served(zipped(PICTURES), "a/photos.zip"))
    other = list_archive(served(zipped({**PICTURES, "cats/new.png": draw(99)}), "b/photos.zip"))

    assert (len(one.pictures), len(other.pictures)) == (6, 7)


@pytest.mark.parametrize("outer", ["photos/", "photos/2024/", "./photos/"])
def test_class_folders_are_found_below_outer_folders(served, outer):
    files = {outer + name: content for name, content in PICTURES.items()}

    listing = list_archive(served(tar({**files, "photos/README.txt": b"hello", "photos/.hidden/x": b""}), "a.tar"))

    assert listing.class_names == ("cats", "dogs")
    assert listing.pictures[0].path == "cats/0.png"


def test_splits_in_the_archive_are_its_own(served):
    files = {f"photos/{split}/{name}": content for split in ("train", "test") for name, content in PICTURES.items()}

    listing = list_archive(served(zipped(files)))

    assert (listing.count("train"), listing.count("test")) == (6, 6)


def test_folder_names_where_the_classes_are(served):
    files = {f"data/images/{name}": content for name, content in PICTURES.items()}

    listing = list_archive(served(zipped({**files, "data/masks/all/1.png": draw(1)}), inside="data/images"))

    assert listing.class_names == ("cats", "dogs")


@pytest.mark.parametrize("folder", ["../..", "/", "nowhere"])
def test_folder_outside_the_archive_or_missing_is_refused(served, folder):
    with pytest.raises(DataError, match=r"data\.source\.archive\.inside"):
        list_archive(served(zipped(PICTURES), inside=folder))


def test_single_class_folder_is_not_taken_for_an_outer_one(served):
    files = {name: content for name, content in PICTURES.items() if name.startswith("cats")}

    assert list_archive(served(zipped(files))).class_names == ("cats",)


def test_what_macos_adds_is_left_out(served):
    extra = {
        "__MACOSX/cats/._0.png": b"x",
        "__MACOSX/photos/._cats": b"x",
        "cats/.DS_Store": b"x",
        "cats/._0.png": b"x",
    }

    listing = list_archive(served(zipped({**PICTURES, **extra})))

    assert listing.class_names == ("cats", "dogs")
    assert len(listing.pictures) == 6


def test_odd_names_are_taken(served):
    odd = [
        "cats/with space.png",
        "cats/ünï😀.png",
        "cats/-dash.png",
        "dogs\\windows.png",
        "cats/a:b.png",
        "cats/no_suffix",
    ]
    packed = tar({**PICTURES, **dict.fromkeys(odd, draw(5))}, special=[member("empty", tarfile.DIRTYPE)])

    listing = list_archive(served(packed, "odd.tar"))

    found = {picture.path for picture in listing.pictures} - set(PICTURES)
    assert found == {name.replace("\\", "/") for name in odd}
    assert "empty" in listing.class_names


@pytest.mark.parametrize(
    ("plain", "name"), [(b"cats/ab.png", b"cats/\xff\xfe.png"), (b"cats/cafe.png", b"cats/caf\xe9.png")]
)
def test_names_in_odd_encodings_do_not_crash(served, plain, name):
    in_tar = tar({**PICTURES, name.decode("utf-8", "surrogateescape"): draw(5)})
    in_zip = zipped({**PICTURES, plain.decode(): draw(5)}).replace(plain, name)
    assert name in in_tar

    for listing in list_archive(served(in_tar, "odd.tar")), list_archive(served(in_zip, "odd.zip")):
        assert len(listing.pictures) == 7
        assert all(isinstance(one, bytes) for one in listing.read(range(7)))


def test_zip_file_with_names_that_are_not_what_it_says_is_refused(served, home):
    content = zipped({"cats/ü.png": draw(5)})

    assert "damaged" in refused(served(content.replace("ü".encode(), b"\xff\xff")), home)


def test_two_processes_unpack_once(web, served):
    source = served(zipped(PICTURES))

    def send_slowly(asked):
        time.sleep(0.3)
        asked.send_file()

    web.always = send_slowly
    processes = [multiprocessing.get_context("fork").Process(target=list_archive, args=(source,)) for _ in range(2)]

    for process in processes:
        process.start()
    for process in processes:
        process.join(20)

    assert [process.exitcode for process in processes] == [0, 0]
    assert len(web.asked) == 1


def no_locks(*_, **__):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("has_locks", [True, False])
def test_unpacking_that_was_killed_is_begun_again_and_leaves_nothing(served, home, monkeypatch, has_locks):
    source = served(zipped(PICTURES))
    with monkeypatch.context() as patch:
        patch.setattr(unpacking.shutil, "rmtree", lambda *_, **__: None)  # killed: nobody tidies up
        patch.setattr(unpacking, "_safe_parts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list_archive(source)
    assert not find_unpacked(source)
    (left,) = home.rglob("unpacking-*")
    if not has_locks:  # then others may be at work on what is new
        os.utime(left, (0, 0))
        monkeypatch.setattr("filelock.FileLock.acquire", no_locks)

    listing = list_archive(source)

    assert len(listing.pictures) == 6
    assert not list(home.rglob("unpacking-*"))


@pytest.mark.parametrize("sha256", [True, False], ids=["pinned", "not pinned"])
def test_folder_that_has_lost_files_is_fetched_again(web, served, sha256):
    content = zipped(PICTURES)
    source = served(content, sha256=hashlib.sha256(content).hexdigest() if sha256 else None)
    folder = fetch_archive(source)
    (folder / "cats" / "0.png").unlink()

    assert not find_unpacked(source)
    assert len(list_archive(source).pictures) == 6
    assert len(web.asked) == 2
    assert sorted(path.name for path in folder.parent.iterdir() if not path.name.startswith(".")) == [
        folder.name,
        f"{folder.name}.count",
    ]


def test_offline_run_is_told_that_files_are_lost(served, home, monkeypatch):
    source = served(zipped(PICTURES))
    (fetch_archive(source) / "cats" / "0.png").unlink()
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    with pytest.raises(DataError, match="photos.zip has lost files on this machine and cannot be downloaded"):
        list_archive(source)


def test_folder_that_nobody_counted_is_used(served, web):
    source = served(zipped(PICTURES))
    folder = fetch_archive(source)
    folder.with_name(f"{folder.name}.count").unlink()

    assert fetch_archive(source) == folder
    assert len(web.asked) == 1


def test_folder_that_lost_all_its_files_and_their_number_is_fetched_again(served, web):
    source = served(zipped(PICTURES))
    folder = fetch_archive(source)
    for path in folder.parent.rglob("*"):
        if path.is_file():
            path.unlink()

    assert files_in(fetch_archive(source)) == sorted(PICTURES)
    assert len(web.asked) == 2


def test_what_is_unpacked_in_the_home_is_copied_to_another_one(web, served, home, tmp_path, monkeypatch):
    source = served(tar(PICTURES, special=[member("empty", tarfile.DIRTYPE)]), "photos.tar")
    here = fetch_archive(source)
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    there = fetch_archive(source, home=tmp_path / "to")

    assert len(web.asked) == 1
    assert there.relative_to(tmp_path / "to") == here.relative_to(home)
    assert files_in(there) == files_in(here) == sorted(PICTURES)
    assert (there / "cats" / "0.png").read_bytes() == PICTURES["cats/0.png"]
    assert (there / "empty").is_dir()
    assert find_unpacked(source, home=tmp_path / "to")


def test_what_has_lost_files_is_not_copied_but_fetched(web, served, tmp_path):
    source = served(zipped(PICTURES))
    (fetch_archive(source) / "cats" / "0.png").unlink()

    assert files_in(fetch_archive(source, home=tmp_path / "to")) == sorted(PICTURES)
    assert len(web.asked) == 2


def test_copy_that_does_not_fit_the_disk_is_refused_and_leaves_nothing(served, tmp_path, monkeypatch):
    source = served(zipped(PICTURES))
    fetch_archive(source)
    monkeypatch.setattr("transferkit.data.archive_source.shutil.disk_usage", lambda _: type("", (), {"free": 100})())

    with pytest.raises(DataError, match="the disk has 0 MB free"):
        fetch_archive(source, home=tmp_path / "to")

    assert [name for name in files_in(tmp_path / "to") if not name.endswith(".lock")] == []


def test_copy_that_breaks_off_leaves_nothing(served, tmp_path, monkeypatch):
    source = served(zipped(PICTURES))
    fetch_archive(source)

    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "cats/0.png")

    monkeypatch.setattr("transferkit.data.archive_source.shutil.copyfile", fill_disk)

    with pytest.raises(DataError, match="No space left"):
        fetch_archive(source, home=tmp_path / "to")

    assert not find_unpacked(source, home=tmp_path / "to")
    assert not list((tmp_path / "to").rglob("unpacking-*"))


def test_copy_to_a_disk_that_does_not_tell_names_apart_is_refused(served, tmp_path, monkeypatch):
    source = served(zipped({**PICTURES, "cats/0.PNG": draw(1)}))
    fetch_archive(source)
    copy = shutil.copyfile
    monkeypatch.setattr("transferkit.data.archive_source.shutil.copyfile", lambda a, b: copy(a, str(b).lower()))

    with pytest.raises(DataError, match="does not tell all names"):
        fetch_archive(source, home=tmp_path / "to")

    assert not find_unpacked(source, home=tmp_path / "to")


def test_last_of_members_with_one_name_counts(served):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for content in (b"old", PICTURES["cats/0.png"]):
            entry = tarfile.TarInfo("cats/0.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    folder = fetch_archive(served(packed.getvalue(), "photos.tar"))

    assert (folder / "cats" / "0.png").read_bytes() == PICTURES["cats/0.png"]


def test_zip_file_that_was_written_as_a_stream_is_read(served):
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, piece):
            self.content += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes follow the content; zip64
        for name, content in PICTURES.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                file.write(content)

    assert len(list_archive(served(pipe.content)).pictures) == 6


def test_rights_that_an_archive_gives_are_not_taken(served):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in PICTURES.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid = len(content), 0o6777, 12345
            archive.addfile(entry, io.BytesIO(content))

    status = (fetch_archive(served(packed.getvalue(), "photos.tar")) / "cats" / "0.png").stat()

    assert status.st_mode & 0o6111 == 0
    assert status.st_uid == os.getuid()


# Bad ones


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.png",
        "cats/../../escaped.png",
        "/escaped.png",
        "C:/escaped.png",
        "c:\\escaped.png",
        "..\\x.png",
        "cats/.. /x.png",
    ],
)
@pytest.mark.parametrize("pack", [tar, zipped])
def test_member_that_leads_out_of_the_folder_is_refused(served, home, pack, name):
    message = refused(served(pack({**PICTURES, name: draw(1)}), "bad.tar"), home)

    assert repr(name) in message
    assert "leads out" in message


def test_absolute_path_of_a_real_folder_is_refused(served, home, tmp_path):
    message = refused(served(tar({f"{tmp_path}/escaped.png": draw(1)}), "bad.tar"), home)

    assert "leads out" in message
    assert not (tmp_path / "escaped.png").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (member("cats/link.png", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (member("cats/link.png", tarfile.SYMTYPE, "0.png"), "is a link"),
        (member("cats/link.png", tarfile.LNKTYPE, "cats/0.png"), "is a link"),
        (member("cats/device", tarfile.CHRTYPE), "is no plain file"),
        (member("cats/device", tarfile.BLKTYPE), "is no plain file"),
        (member("cats/pipe", tarfile.FIFOTYPE), "is no plain file"),
    ],
    ids=["symbolic link out", "symbolic link within", "hard link", "character device", "block device", "pipe"],
)
def test_link_or_device_in_a_tar_file_is_refused(served, home, entry, words):
    message = refused(served(tar(PICTURES, special=[entry]), "bad.tar"), home)

    assert repr(entry.name) in message
    assert words in message


def test_file_written_through_a_link_is_refused(served, home, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member("cats", tarfile.SYMTYPE, str(out)))
        archive.addfile(member("cats/escaped.png"))

    refused(served(packed.getvalue(), "bad.tar"), home)

    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is no plain file"), (stat.S_IFIFO, "no plain file")],
)
def test_link_or_device_in_a_zip_file_is_refused(served, home, kind, words):
    entry = zipfile.ZipInfo("cats/link")
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16

    message = refused(served(zipped(PICTURES, special=[(entry, "../../out")])), home)

    assert "'cats/link'" in message
    assert words in message


def test_zip_file_with_a_password_is_refused(served, home):
    content = bytearray(zipped({"cats/0.png": draw(0)}))
    content[6] |= 1  # the flag in the member's own header, and in the list of members
    content[content.index(b"PK\1\2") + 8] |= 1

    assert "needs a password" in refused(served(bytes(content)), home)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "pack",
    [zipped, tar, lambda files: tar(files, "gz"), lambda files: tar(files, "bz2"), lambda files: tar(files, "xz")],
    ids=["zip", "tar", "gzip", "bzip2", "xz"],
)
def test_truncated_archive_is_refused_and_a_better_one_taken_later(web, served, home, pack, kept):
    files = {name: os.urandom(3000) for name in PICTURES}
    content = pack(files)
    needed = content.rstrip(b"\0") if pack is tar else content  # the mark of its end, and zeros to fill it up
    source = served(needed[: int(kept * len(needed))])

    message = refused(source, home)

    assert "damaged or not whole" in message or "neither" in message
    web.files["photos.zip"] = content
    assert len(list_archive(source).pictures) == 6


def test_tar_file_cut_between_two_members_is_refused(served, home):
    content = tar(PICTURES)
    second = content.index(b"cats/1.png")

    assert "damaged or not whole" in refused(served(content[:second]), home)


@pytest.mark.parametrize("pack", [zipped, lambda files: tar(files, "gz")], ids=["zip", "gzip"])
def test_archive_with_a_wrong_byte_is_refused(served, home, pack):
    content = bytearray(pack({name: os.urandom(3000) for name in PICTURES}))
    content[len(content) // 2] ^= 1

    assert "damaged or not whole" in refused(served(bytes(content)), home)


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><title>Sign in</title>", os.urandom(2000), draw(1)],
    ids=["", "page", "noise", "png"],
)
def test_file_that_is_no_archive_is_refused_with_how_it_begins(served, home, content):
    message = refused(served(content), home)

    assert "neither a .zip nor a .tar file" in message
    assert repr(content[:40]) in message


@pytest.mark.parametrize(
    "pack",
    [zipped, lambda files: tar(files, "gz"), lambda files: tar(files, "bz2"), lambda files: tar(files, "xz")],
    ids=["zip", "gzip", "bzip2", "xz"],
)
def test_bomb_is_refused(served, home, monkeypatch, pack):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED_BYTES", 2**20)
    content = pack({"cats/0.png": bytes(2**24)})
    assert len(content) * 100 < 2**24

    assert "over 100 times" in refused(served(content), home)


@pytest.mark.parametrize("pack", [zipped, lambda files: tar(files, "gz")], ids=["zip", "gzip"])
def test_bomb_is_refused_by_its_headers_before_anything_of_it_is_written(served, home, monkeypatch, pack):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED_BYTES", 2**20)

    def write(*_):
        raise AssertionError("written")

    monkeypatch.setattr(unpacking, "_write", write)

    assert "over 100 times" in refused(served(pack({"cats/0.png": bytes(2**24)})), home)


def test_archive_that_fills_a_small_disk_is_refused_by_what_is_free(served, home, monkeypatch):
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**7})())

    assert "more than the 9 MB that the disk has to spare" in refused(
        served(zipped({"cats/0.png": bytes(2**24)})), home
    )
    assert len(list_archive(served(zipped(PICTURES), "other.zip")).pictures) == 6


@pytest.mark.parametrize("depth", [101, 2000, 10_000])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_folders_without_end_are_refused(served, home, pack, depth):
    message = refused(served(pack({**PICTURES, "a/" * depth + "1.png": draw(1)})), home)

    assert "lies more than 100 folders deep" in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cats/" + "n" * 300 + ".png"], "has a name that is too long for this disk"),
        (["/".join(["d" * 200] * 30)[1:]], "has a name that is too long for this disk"),
        (["cats/0.png/1.png"], "has the name of another member"),
        (["cats"], "has the name of another member"),
    ],
    ids=["long name", "long path", "file as folder", "folder as file"],
)
def test_name_that_the_disk_does_not_take_is_told(served, home, names, words):
    message = refused(served(tar({**PICTURES, **dict.fromkeys(names, draw(1))}), "odd.tar"), home)

    assert words in message
    assert len(message) < 600


@pytest.mark.parametrize("twin", ["Cats/0.png", "cats/0.PNG", "Cats/9.png"])
def test_names_that_the_disk_does_not_tell_apart_are_refused(served, home, monkeypatch, twin):
    class Folded(type(home)):
        """A path on a disk that does not tell capitals from small letters."""

        def joinpath(self, *parts):
            return type(home)(self, *map(str.lower, parts))

    original = unpacking._unpack
    monkeypatch.setattr(unpacking, "_unpack", lambda raw, folder, *rest: original(raw, Folded(folder), *rest))

    assert "does not tell apart" in refused(served(zipped({**PICTURES, twin: draw(1)})), home)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ],
)
def test_archive_of_another_kind_is_called_by_its_name(served, home, begin, words):
    message = refused(served(begin + os.urandom(500)), home)

    assert words in message
    assert "data.source.folder" in message


def test_zip_file_in_a_compression_that_is_not_read_is_not_called_damaged(served, home):
    content = bytearray(zipped({"cats/0.png": draw(0)}))
    content[8] = content[content.index(b"PK\1\2") + 10] = 9

    message = refused(served(bytes(content)), home)

    assert "deflate64" in message
    assert "damaged" not in message


def test_archives_within_an_archive_are_named_with_where_they_lie(served):
    source = served(zipped({"train.tar.gz": tar(PICTURES, "gz"), "test.zip": zipped(PICTURES)}))

    with pytest.raises(DataError) as caught:
        list_archive(source)

    assert "holds archives again, which are not unpacked: test.zip, train.tar.gz" in str(caught.value)
    assert f"They lie in {find_unpacked(source)}, which goes with the cache" in str(caught.value)
    assert "into a folder of your own" in str(caught.value)


def test_bomb_whose_headers_lie_writes_no_more_than_they_say(served, home):
    content = bytearray(zipped({"cats/0.png": bytes(2**24)}))
    for place in (22, content.index(b"PK\1\2") + 24):
        assert content[place : place + 4] == (2**24).to_bytes(4, "little")
        content[place : place + 4] = (1000).to_bytes(4, "little")

    assert "damaged" in refused(served(bytes(content)), home)


def test_bomb_of_many_empty_files_is_refused(served, home, monkeypatch):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED_BYTES", 2**20)

    assert "over 100 times" in refused(served(tar({f"cats/{n}": b"" for n in range(2000)}, "xz")), home)


def test_bomb_in_a_header_is_refused_before_it_fills_the_memory(served, home):
    good = tar({"cats/0.png": draw(1)})
    header = tarfile.TarInfo("cats/1.png")
    header.type, header.size = tarfile.XHDTYPE, 2**34

    content = good[: len(good.rstrip(b"\0")) // 512 * 512 + 512] + header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)

    assert "a header of many megabytes" in refused(served(gzip.compress(content)), home)


def test_bomb_behind_the_end_is_refused(served, home, monkeypatch):
    monkeypatch.setattr(archive_members, "_MAX_PADDING_BYTES", 2**21)

    assert "goes on after its end" in refused(served(gzip.compress(tar(PICTURES) + bytes(2**24))), home)


def test_archive_that_does_not_fit_the_disk_is_refused_and_kept_for_another_time(web, served, home, monkeypatch):
    source = served(zipped(PICTURES))
    with monkeypatch.context() as patch:
        patch.setattr(unpacking.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 20_000})())
        assert "make room" in refused(source, home)

    assert len(list_archive(source).pictures) == 6
    assert len(web.asked) == 1


def test_offline_run_says_what_to_do_and_asks_nothing(web, served, home, monkeypatch):
    source = served(zipped(PICTURES))
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    message = refused(source, home)

    for words in ("offline", source.url, "transferkit fetch RECIPE", "TRANSFERKIT_HOME", "TRANSFERKIT_MIRROR"):
        assert words in message
    assert web.asked == []
    assert not home.exists()


def test_archive_put_there_by_hand_is_taken(web, served, home, monkeypatch):
    source = served(zipped(PICTURES))
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")
    place = next(line for line in refused(source, home).splitlines() if "to: " in line).split("to:")[1].strip()
    os.makedirs(os.path.dirname(place))
    with open(place, "wb") as file:
        file.write(web.files["photos.zip"])

    assert len(list_archive(source).pictures) == 6


def test_home_that_cannot_be_written_is_named(served, home):
    home.write_text("a file where a folder should be")

    with pytest.raises(DataError, match=str(home)):
        list_archive(served(zipped(PICTURES)))
