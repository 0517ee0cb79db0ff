import hashlib
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from transferkit.backbones import download
from transferkit.backbones.download import download_weights
from transferkit.backbones.spec import WeightsFile
from transferkit.errors import WeightsError

pytestmark = pytest.mark.model

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()
NAME = "toy_notop.h5"


@dataclass
class Server:
    """A web server on this machine; `answer` is what it does with a request."""

    answer: object
    url: str = ""
    requests: list[str] = field(default_factory=list)

    @property
    def file(self) -> WeightsFile:
        return WeightsFile(self.url, MD5)


@contextmanager
def serving(answer):
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append(self.path)
            server.answer(self)

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.handle_error = lambda *args: None
    server.url = f"http://127.0.0.1:{web.server_port}/models/{NAME}"
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    web.shutdown()
    web.server_close()


def send_content(handler, content=CONTENT, *, promised=None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(promised or len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def send_half(handler):
    send_content(handler, CONTENT[:100], promised=len(CONTENT))


def send_other(handler):
    send_content(handler, b"something else")


def send_not_found(handler):
    handler.send_error(404)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "keras" / "models"


def fail_to_download(file) -> str:
    with pytest.raises(WeightsError) as caught:
        download_weights("toy", file)
    return str(caught.value)


def assert_helpful(message, file, cache):
    assert message.startswith("The ImageNet weights of toy ")
    assert f"from:  {file.url}\n" in message
    assert f"to:    {cache / NAME}\n" in message
    assert "efficientnet_lite0" in message
    assert "--set model.weights=PATH" in message


def test_download_puts_the_file_into_keras_cache(cache):
    with serving(send_content) as server:
        path = download_weights("toy", server.file)

    assert path == cache / NAME
    assert path.read_bytes() == CONTENT
    assert [one.name for one in cache.iterdir()] == [NAME]


def test_downloaded_file_is_used_again_without_asking_the_server(cache):
    with serving(send_content) as server:
        download_weights("toy", server.file)
        server.requests.clear()

        path = download_weights("toy", server.file)

        assert path.read_bytes() == CONTENT
        assert server.requests == []


def test_file_that_keras_has_downloaded_before_needs_no_network(cache):
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT)

    assert download_weights("toy", WeightsFile(f"http://127.0.0.1:9/{NAME}", MD5)) == cache / NAME


def test_cache_is_in_the_home_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))

    with serving(send_content) as server:
        path = download_weights("toy", server.file)

    assert path == tmp_path / ".keras" / "models" / NAME


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(send_other, "hash does not match"), (send_half, "retrieval incomplete"), (send_not_found, "404")],
)
def test_bad_answer_is_an_error_that_leaves_nothing(answer, reason, cache):
    with serving(answer) as server:
        message = fail_to_download(server.file)

    assert_helpful(message, server.file, cache)
    assert reason in message
    assert list(cache.parent.rglob("*")) == [cache]


@pytest.mark.parametrize("answer", [send_other, send_half, send_not_found])
def test_download_works_after_a_bad_answer(answer, cache):
    with serving(answer) as server:
        fail_to_download(server.file)
        server.answer = send_content

        assert download_weights("toy", server.file).read_bytes() == CONTENT


def test_file_that_is_not_the_published_one_is_replaced(cache):
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:50])

    with serving(send_content) as server:
        assert download_weights("toy", server.file).read_bytes() == CONTENT


def test_file_that_is_not_the_published_one_is_kept_and_not_used_where_it_cannot_be_replaced(cache):
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(b"put there by hand")

    with serving(send_not_found) as server:
        message = fail_to_download(server.file)

    assert "on this machine are not the published ones" in message
    assert (cache / NAME).read_bytes() == b"put there by hand"


def test_refused_connection_is_an_error_that_says_what_to_do(cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file = WeightsFile(f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}", MD5)

        message = fail_to_download(file)

    assert_helpful(message, file, cache)
    assert "refused" in message


@pytest.mark.parametrize("part", ["from the start", "half way"])
def test_server_that_falls_silent_is_an_error_in_time(part, cache, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_S", 1.0)
    released = threading.Event()

    def fall_silent(handler):
        if part == "half way":
            send_half(handler)
        released.wait(20)

    with serving(fall_silent) as server:
        start_s = time.monotonic()
        message = fail_to_download(server.file)
        seconds = time.monotonic() - start_s
        released.set()

    assert_helpful(message, server.file, cache)
    assert seconds < 5
    assert list(cache.parent.rglob("*")) == [cache]


def test_name_lookup_that_hangs_is_an_error_in_time(cache, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_S", 0.5)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: released.wait(20) and [])

    start_s = time.monotonic()
    message = fail_to_download(WeightsFile(f"http://weights.invalid/{NAME}", MD5))
    seconds = time.monotonic() - start_s
    released.set()

    assert "no answer within 0.5 s" in message
    assert seconds < 5


def test_an_error_comes_within_the_promised_15_seconds():
    """Of two waits that follow each other, the first ends in an answer; only one can take its whole time."""
    assert download.ANSWER_S < 15


def test_cache_that_cannot_be_written_is_an_error_that_names_it(cache):
    cache.parent.write_text("a file where a folder should be")

    with serving(send_content) as server:
        message = fail_to_download(server.file)

    assert_helpful(message, server.file, cache)


def test_download_puts_back_the_socket_timeout():
    before = socket.getdefaulttimeout()

    with serving(send_content) as server:
        download_weights("toy", server.file)

    assert socket.getdefaulttimeout() == before
