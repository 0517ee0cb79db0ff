"""One file from a server on this machine that does what servers and lines do to people."""

import errno
import gzip
import hashlib
import io
import multiprocessing
import re
import socket
import threading
import time

import pytest

from transferkit.download import transfer
from transferkit.download.file import Digest, download_file, is_offline, ways_out
from transferkit.errors import DownloadError

NAME = "file.bin"
# More than one chunk, and no part like another.
CONTENT = b"".join(hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(20_000))
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
PART = 300_000


@pytest.fixture
def target(tmp_path, web):
    web.files[NAME] = CONTENT
    return tmp_path / "downloads" / NAME


def names_beside(target):
    """What lies in the folder, apart from locks."""
    return sorted(path.name for path in target.parent.iterdir() if not path.name.endswith(".lock"))


def fail(web, target, *, digest=DIGEST) -> str:
    with pytest.raises(DownloadError) as caught:
        download_file(web.url(NAME), target, digest=digest)
    return str(caught.value)


def break_off(asked):
    asked.send_file(until=PART)


def break_off_without_ranges(asked):
    asked.send_file(until=PART, ranges=False, tag=None)


def stall(asked):
    asked.send_file(until=PART)
    asked.fall_silent()


def corrupt(asked):
    asked.send_file(CONTENT[:1000] + b"!" + CONTENT[1001:])


def refuse(status, **headers):
    def answer(asked):
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name.replace("_", "-"), value)
        asked.send_header("Content-Length", "0")
        asked.end_headers()

    return answer


# What comes


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_file_is_fetched_once(web, target, algorithm):
    digest = Digest(algorithm, hashlib.new(algorithm, CONTENT).hexdigest())

    download_file(web.url(NAME), target, digest=digest)
    download_file(web.url(NAME), target, digest=digest)

    assert target.read_bytes() == CONTENT
    assert web.asked == [(NAME, None)]
    assert names_beside(target) == [NAME]


def test_empty_file_is_a_file(web, target):
    web.files[NAME] = b""

    download_file(web.url(NAME), target)

    assert target.read_bytes() == b""


def test_file_without_a_known_hash_and_size_is_taken_as_it_comes(web, target):
    def send_without_length(asked):
        asked.send_response(200)
        asked.end_headers()
        asked.wfile.write(CONTENT)

    web.always = send_without_length

    download_file(web.url(NAME), target)

    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("trouble", [break_off, stall], ids=["breaks off", "stalls"])
def test_broken_download_goes_on_where_it_was(web, target, trouble, told):
    web.answers = [trouble]

    download_file(web.url(NAME), target, digest=DIGEST, progress=told)

    (_, nothing), (_, rest) = web.asked
    assert target.read_bytes() == CONTENT
    assert nothing is None
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= PART
    assert names_beside(target) == [NAME]
    assert "trying again" in told.lines[0]
    assert "going on after 0." in told.lines[1]


@pytest.mark.parametrize("digest", [DIGEST, None], ids=["hash known", "hash unknown"])
def test_later_call_goes_on_where_an_earlier_one_broke_off(web, target, digest):
    web.answers = [break_off]
    web.always = refuse(404)
    fail(web, target, digest=digest)
    assert names_beside(target) == [f"{NAME}.partial", f"{NAME}.partial.json"]
    web.always = lambda asked: asked.send_file()

    download_file(web.url(NAME), target, digest=digest)

    assert target.read_bytes() == CONTENT
    assert web.asked[-1][1].startswith("bytes=")


def test_server_that_ignores_ranges_sends_all_again(web, target):
    web.answers = [break_off]
    web.always = lambda asked: asked.send_file(ranges=False)

    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("digest", [True, False], ids=["hash known", "hash unknown"])
@pytest.mark.parametrize("tag", ["", None], ids=["tag", "no tag"])
def test_file_that_changes_between_attempts_is_never_mixed(web, target, tag, digest):
    newer = CONTENT[::-1]
    web.answers = [lambda asked: asked.send_file(until=PART, tag=tag)]
    web.always = lambda asked: asked.send_file(newer, tag=tag)

    download_file(web.url(NAME), target, digest=Digest("sha256", hashlib.sha256(newer).hexdigest()) if digest else None)

    assert target.read_bytes() == newer


def test_rest_of_a_file_is_asked_for_on_condition_that_it_is_the_same(web, target):
    conditions = []

    def note(asked):
        conditions.append(asked.headers["If-Range"])
        asked.send_file()

    web.answers = [break_off]
    web.always = note

    download_file(web.url(NAME), target)

    assert conditions == [f'"{DIGEST.hexadecimal[:8]}"']


def test_file_comes_as_it_is_from_a_server_that_would_compress_it(web, target):
    def compress(asked):
        wanted = "gzip" in asked.headers["Accept-Encoding"]
        asked.send_file(gzip.compress(CONTENT) if wanted else CONTENT)

    web.always = compress

    download_file(web.url(NAME), target)

    assert target.read_bytes() == CONTENT


def test_server_that_overlooks_the_condition_is_not_trusted_with_the_rest(web, target):
    newer = CONTENT[::-1]

    def send_rest_of_another_version(asked):
        del asked.headers["If-Range"]
        asked.send_file(newer)

    web.answers = [break_off]
    web.always = send_rest_of_another_version

    download_file(web.url(NAME), target)

    assert target.read_bytes() == newer


def test_whole_file_that_only_lacks_its_name_is_not_sent_again(web, target):
    web.answers = [break_off]
    web.always = refuse(404)
    fail(web, target)
    target.with_name(f"{NAME}.partial").write_bytes(CONTENT)
    web.always = lambda asked: asked.send_file()

    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT
    assert web.asked[-1][1] == f"bytes={len(CONTENT)}-"


def test_part_that_is_longer_than_the_file_is_thrown_away(web, target):
    web.answers = [break_off]
    web.always = refuse(404)
    fail(web, target)
    target.with_name(f"{NAME}.partial").write_bytes(CONTENT + b"more")
    web.always = lambda asked: asked.send_file()

    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT


# What does not


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_fault_is_tried_again(web, target, status):
    web.answers = [refuse(status)] * 3

    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT
    assert len(web.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_lasting_fault_is_not_tried_again(web, target, status):
    web.always = refuse(status)

    assert f"HTTP {status}" in fail(web, target)
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "trouble", [refuse(503), break_off_without_ranges, stall], ids=["refuses", "breaks off", "stalls"]
)
def test_server_that_never_works_is_given_up_in_time(web, target, trouble):
    web.always = trouble
    start_s = time.monotonic()

    message = fail(web, target)

    assert time.monotonic() - start_s < 10
    assert message.startswith(web.url(NAME))
    assert not target.exists()
    assert len(web.asked) > 1


def test_server_that_trickles_is_given_up_in_time(web, target, clock, monkeypatch):
    monkeypatch.setattr(transfer, "ANSWER_S", 20.0)
    clock.look_s = 0.2  # so that each byte takes as long
    num_sent = 0

    def trickle(asked):
        nonlocal num_sent
        asked.send_response(200)
        asked.send_header("Content-Length", str(len(CONTENT)))
        asked.end_headers()
        for place in range(1000):
            asked.wfile.write(CONTENT[place : place + 1])
            num_sent += 1
            time.sleep(0.01)

    web.always = trickle

    message = fail(web, target)

    assert re.search(r"only \d+ bytes came in 1 s", message)
    assert num_sent < 1000
    assert len(web.asked) == 1


def test_server_that_sends_a_little_more_each_time_is_given_up_in_time(web, target, clock, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.2)

    def send_ten_more(asked):
        place = int((asked.headers["Range"] or "bytes=0-")[6:-1])
        asked.send_file(until=place + 10)

    web.always = send_ten_more

    message = fail(web, target)

    assert "the connection ended early" in message
    assert web.asked[-1][1] == f"bytes={10 * (len(web.asked) - 1)}-" != "bytes=0-"
    assert clock.now <= transfer.PATIENCE_S


def test_how_long_it_is_tried_is_said_before_and_after(web, target, clock, monkeypatch, told):
    monkeypatch.setattr(transfer, "PATIENCE_S", 30.0)
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_S", 4.0)
    web.always = refuse(503)

    with pytest.raises(DownloadError) as caught:
        download_file(web.url(NAME), target, progress=told)

    assert re.search(r"trying again in 0\.0 s, for 30 s at most", told.lines[0])
    assert f"HTTP 503 Service Unavailable (tried for {clock.now:.0f} s)" in str(caught.value)
    assert 30 - 4 <= clock.now <= 30


def test_page_in_place_of_a_file_is_shown(web, target):
    web.always = lambda asked: asked.send_file(b"<!DOCTYPE html><title>Sign in</title>")

    assert "37 bytes, which begin with b'<!DOCTYPE html><title>Sign in" in fail(web, target)


def test_server_that_speaks_no_http_is_told_so(web, target):
    def speak(asked):
        asked.wfile.write(b"\0\1 hello\r\n\r\n")

    web.always = speak

    assert "what answers is no web server" in fail(web, target)


@pytest.mark.parametrize(
    "place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/file.bin"], ids=["file", "ftp", "loop"]
)
def test_redirection_out_of_the_web_or_in_a_circle_is_refused(web, target, place):
    def redirect(asked):
        asked.send_response(302)
        asked.send_header("Location", place)
        asked.send_header("Content-Length", "0")
        asked.end_headers()

    web.always = redirect

    fail(web, target)

    assert names_beside(target) == []


def test_redirection_to_another_host_is_followed(web, target):
    def redirect(asked):
        asked.send_response(302)
        asked.send_header("Location", web.url("there.bin").replace("127.0.0.1", "localhost"))
        asked.send_header("Content-Length", "0")
        asked.end_headers()

    web.files["there.bin"] = CONTENT
    web.answers = [redirect]

    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("num_bytes", [len(CONTENT), 100], ids=["as it comes", "as it is closed"])
def test_file_without_an_end_does_not_keep_the_disk_full(web, target, monkeypatch, num_bytes):
    class FullDisk(io.RawIOBase):
        def writable(self):
            return True

        def write(self, piece):
            raise OSError(errno.ENOSPC, "No space left on device")

    def send_without_length(asked):
        asked.send_response(200)
        asked.end_headers()
        asked.wfile.write(CONTENT[:num_bytes])

    def open_on_full_disk(_):
        opened.append(io.BufferedWriter(FullDisk()))
        return opened[-1]

    def remove_closed(partial):
        were_closed.extend(file.closed for file in opened)
        remove(partial)

    opened, were_closed, remove = [], [], transfer.Partial.remove
    web.always = send_without_length
    monkeypatch.setattr(transfer.Partial, "open", open_on_full_disk)
    monkeypatch.setattr(transfer.Partial, "remove", remove_closed)

    message = fail(web, target)

    assert message == f"{web.url(NAME)}: {target}.partial: No space left on device"
    assert names_beside(target) == []
    assert were_closed == [True]  # Windows removes no open file


def test_chunks_that_end_early_are_not_taken_for_the_file(web, target):
    def send_some_chunks(asked):
        asked.protocol_version = "HTTP/1.1"
        asked.send_response(200)
        asked.send_header("Transfer-Encoding", "chunked")
        asked.end_headers()
        asked.wfile.write(b"10000\r\n" + CONTENT[:0x10000] + b"\r\n10000\r\nabc")
        asked.close_connection = True

    web.always = send_some_chunks

    assert "the connection ended early" in fail(web, target, digest=None)
    assert not target.exists()


def test_server_s_own_time_to_wait_is_kept(web, target, clock, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE_S", 10.0)
    web.answers = [refuse(503, Retry_After="7")]

    download_file(web.url(NAME), target, digest=DIGEST)

    assert clock.now == 7


@pytest.mark.parametrize("when", ["3600", "Wed, 01 Jan 2200 00:00:00 GMT"])
def test_server_that_asks_to_wait_too_long_is_given_up_at_once(web, target, when):
    web.always = refuse(429, Retry_After=when)

    message = fail(web, target)

    assert "HTTP 429" in message
    assert "asks to wait" in message
    assert len(web.asked) == 1


def test_corrupted_file_is_thrown_away_and_fetched_once_more(web, target, told):
    web.answers = [corrupt]

    download_file(web.url(NAME), target, digest=DIGEST, progress=told)

    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in web.asked] == [None, None]
    assert "thrown away" in told.lines[0]


def test_file_that_stays_corrupted_is_refused_with_both_hashes(web, target):
    web.always = corrupt

    message = fail(web, target)

    assert DIGEST.hexadecimal in message
    assert hashlib.sha256(CONTENT[:1000] + b"!" + CONTENT[1001:]).hexdigest() in message
    assert len(web.asked) == 2
    assert names_beside(target) == []


def test_wrong_file_that_was_there_stays_until_a_better_one_is_whole(web, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    web.always = refuse(404)

    fail(web, target)

    assert target.read_bytes() == b"mine"
    web.always = lambda asked: asked.send_file()
    download_file(web.url(NAME), target, digest=DIGEST)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("mirror", "answer"), [("", "1 s"), ("mirror", "0.5 s")], ids=["alone", "and its mirror"])
def test_silent_server_is_an_error_in_time(web, target, monkeypatch, mirror, answer):
    monkeypatch.setenv("TRANSFERKIT_MIRROR", mirror and web.url(mirror))
    web.files["mirror/file.bin"] = CONTENT
    web.always = lambda asked: asked.fall_silent()
    start_s = time.monotonic()

    message = fail(web, target)

    assert message.count(f"no answer within {answer}") == (2 if mirror else 1)
    assert time.monotonic() - start_s < 10


def test_refused_connection_says_so_in_time(target):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        start_s = time.monotonic()
        with pytest.raises(DownloadError, match="refused"):
            download_file(f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}", target)

    assert time.monotonic() - start_s < 10


def test_name_lookup_that_hangs_is_an_error_in_time(target, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20) and [])
    start_s = time.monotonic()

    with pytest.raises(DownloadError, match="no answer within 1 s"):
        download_file(f"http://weights.invalid/{NAME}", target)

    assert time.monotonic() - start_s < 10
    released.set()


def test_disk_without_room_is_told_before_anything_is_written(web, target, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())

    message = fail(web, target)

    assert f"the disk of {target.parent} has 0 MB free" in message


def test_folder_that_cannot_be_made_is_named(web, target):
    target.parent.write_text("a file where a folder should be")

    assert str(target.parent) in fail(web, target)


def test_passwords_in_an_address_are_not_told(target):
    with pytest.raises(DownloadError) as caught:
        download_file("http://me:secret@127.0.0.1:9/file?token=secret", target)

    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9/file" in str(caught.value)


# Mirror, offline, several processes


def test_mirror_is_asked_first_by_name(web, target, monkeypatch):
    web.files["mirror/file.bin"] = CONTENT
    monkeypatch.setenv("TRANSFERKIT_MIRROR", web.url("mirror/"))

    download_file(web.url(NAME), target, digest=DIGEST)

    assert [name for name, _ in web.asked] == ["mirror/file.bin"]


def test_mirror_without_the_file_or_with_another_one_is_passed_over(web, target, monkeypatch):
    web.files["mirror/file.bin"] = b"something else"
    monkeypatch.setenv("TRANSFERKIT_MIRROR", web.url("mirror"))

    download_file(web.url(NAME), target, digest=DIGEST)
    target.unlink()
    del web.files["mirror/file.bin"]
    download_file(web.url(NAME), target, digest=DIGEST)

    assert target.read_bytes() == CONTENT


def test_error_names_every_address(web, target, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_MIRROR", web.url("mirror"))
    web.files.clear()

    message = fail(web, target)

    assert f"{web.url('mirror/file.bin')}: HTTP 404" in message
    assert f"{web.url(NAME)}: HTTP 404" in message


def test_offline_takes_what_is_there_and_asks_nothing(web, target, monkeypatch):
    download_file(web.url(NAME), target, digest=DIGEST)
    web.asked.clear()
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    download_file(web.url(NAME), target, digest=DIGEST)
    target.unlink()

    assert "offline" in fail(web, target)
    assert web.asked == []


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("true", True), ("0", False), ("", False), ("No", False)])
def test_offline_is_switched_by_its_variable(text, expected):
    assert is_offline({"TRANSFERKIT_OFFLINE": text}) is expected


def test_ways_out_name_the_home_the_mirror_and_fetch():
    text = ways_out({"TRANSFERKIT_MIRROR": "https://me:secret@mirror.example/x"})

    for words in ("transferkit fetch RECIPE", "TRANSFERKIT_HOME", "TRANSFERKIT_MIRROR", "https://mirror.example/x"):
        assert words in text
    assert "secret" not in text


def test_two_processes_fetch_a_file_once(web, target, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_S", 20.0)
    monkeypatch.setattr(transfer, "ANSWER_S", 20.0)

    def send_slowly(asked):
        time.sleep(0.3)
        asked.send_file()

    web.always = send_slowly
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=download_file, args=(web.url(NAME), target)) for _ in range(2)]

    for process in processes:
        process.start()
    for process in processes:
        process.join(10)

    assert [process.exitcode for process in processes] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert len(web.asked) == 1


def test_pauses_grow_and_differ():
    pauses = transfer.pause_lengths()

    lengths = [next(pauses) for _ in range(20)]

    bounds = [min(0.02 * 2**number, transfer.LONGEST_PAUSE_S) for number in range(20)]
    assert all(0.5 * bound <= length <= bound for length, bound in zip(lengths, bounds, strict=True))
    assert len(set(lengths)) == 20


def test_an_error_without_a_network_comes_within_15_seconds(short_waits):
    """A wait for anything but the first answer has an answer before it."""
    assert short_waits < 15
