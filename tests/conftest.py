"""The smallest true things that tests share."""

import os

# Before TensorFlow is imported anywhere: its C++ side prints lines that hide a test's own output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def draw_picture(label: int, number: int, size_px: int = 40) -> Image.Image:
    """A picture whose class shows in its colour and stripes; `number` makes it unlike all others."""
    draw = np.random.default_rng([label, number])
    pixels = draw.integers(0, 60, (size_px, size_px, 3))
    pixels[..., label % 3] += 120
    if label % 2:
        pixels[:: 2 + label // 3] //= 3
    return Image.fromarray(pixels.astype(np.uint8))


def make_folder(root: Path, *, classes: int = 3, each: int = 8, size_px: int = 40) -> Path:
    """`root/class_<n>/<m>.png`."""
    for label in range(classes):
        folder = root / f"class_{label}"
        folder.mkdir(parents=True)
        for number in range(each):
            draw_picture(label, number, size_px).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session", autouse=True)
def features_home(tmp_path_factory) -> Iterator[Path]:
    """Features of the tests' pictures stay out of the home of whoever runs them; subprocesses see it too."""
    home = tmp_path_factory.mktemp("transferkit-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """3 classes of 8 drawn pictures, 40 px."""
    return make_folder(tmp_path / "photos")


@pytest.fixture
def folder_maker():
    """`make_folder`, for other sizes."""
    return make_folder


@pytest.fixture(scope="session")
def session_folder_maker():
    """`make_folder`, for fixtures that outlive a test."""
    return make_folder


class Asked(BaseHTTPRequestHandler):
    """One request to the web server, and the ways to answer it."""

    web: "Web"
    content: bytes

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.content = self.web.files.get(name, b"")
        self.web.asked.append((name, self.headers.get("Range")))
        answer = self.web.answers.pop(0) if self.web.answers else self.web.always
        answer(self) if name in self.web.files else self.send_error(404)

    def send_file(
        self, content: bytes | None = None, *, ranges: bool = True, tag: str | None = "", until: int | None = None
    ) -> None:
        """Answer as a good server does.

        Args:
            content: instead of the file's.
            ranges: whether the rest of a file can be had.
            tag: the file's ETag; default: one that follows the content; `None`: none.
            until: break off at this byte.
        """
        content = self.content if content is None else content
        tag = f'"{sha256(content).hexdigest()[:8]}"' if tag == "" else tag
        start = 0
        condition = self.headers.get("If-Range")
        if ranges and "Range" in self.headers and condition in (None, tag):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(content[start:until])

    def fall_silent(self) -> None:
        """Neither send nor hang up before the test is over."""
        self.wfile.flush()
        self.web.is_over.wait(20)

    def log_message(self, *_: object) -> None:
        pass


class Web:
    """A web server on this machine.

    `answers` are what it does with the next requests, one each; after them it does `always`. `asked` is what came:
    names, each with the Range header.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: list[Callable[[Asked], None]] = []
        self.always: Callable[[Asked], None] = Asked.send_file
        self.asked: list[tuple[str, str | None]] = []
        self.is_over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Asked,), {"web": self}))
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def stop(self) -> None:
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """See `Web`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Web()
    yield server
    server.stop()
