"""What happens when the data is not on disk. The only server asked is one on this machine."""

import dataclasses
import hashlib
import io
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from transferkit.data.tfds_source import list_tfds
from transferkit.errors import DataError
from transferkit.recipe.source import TfdsSource

pytestmark = pytest.mark.model


def draw() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), "teal").save(file, "JPEG")
    return file.getvalue()


PICTURE = draw()


@pytest.fixture
def unreachable(monkeypatch):
    """No network: every request goes to a proxy that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def web_builder():
    """A dataset whose one file is on a web server on this machine."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(ToyWebPictures.answer)
            self.send_header("Content-Length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}/picture.jpg"

    class ToyWebPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        answer = 200
        url_infos = {url: UrlInfo(len(PICTURE), hashlib.sha256(PICTURE).hexdigest(), "picture.jpg")}

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["only"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(dl_manager.download(url))}

        def _generate_examples(self, path):
            yield "0", {"image": path, "label": 0}

    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield ToyWebPictures
    server.shutdown()
    server.server_close()


def test_missing_data_without_a_network_is_told_soon_with_what_to_do(tmp_path, unreachable):
    start_s = time.monotonic()

    with pytest.raises(DataError) as raised:
        list_tfds(TfdsSource(name="tf_flowers", data_dir=str(tmp_path)))

    assert time.monotonic() - start_s < 15
    for words in ("tf_flowers", str(tmp_path), "download.tensorflow.org", "data.source.tfds.data_dir", "quickstart"):
        assert words in str(raised.value)


def test_prepared_data_is_read_without_a_network(tmp_path, web_builder, monkeypatch):
    spec = TfdsSource(name=web_builder.name, data_dir=str(tmp_path))
    prepared = list_tfds(spec)
    monkeypatch.setattr(web_builder, "answer", 503)

    listing = list_tfds(spec)

    assert listing.pictures == prepared.pictures
    assert list(listing.read(range(len(listing.pictures)))) == [PICTURE]


def test_data_that_the_user_has_to_bring_is_asked_for(tmp_path, unreachable):
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar"):
        list_tfds(TfdsSource(name="imagenet2012", data_dir=str(tmp_path)))


def test_missing_data_is_downloaded_and_prepared_in_silence(tmp_path, web_builder, capsys, caplog):
    caplog.set_level(logging.INFO)

    listing = list_tfds(TfdsSource(name=web_builder.name, data_dir=str(tmp_path)))

    assert list(listing.read(range(len(listing.pictures)))) == [PICTURE]
    assert "once: up to" in caplog.text
    assert {record.name for record in caplog.records} == {"transferkit.data.tfds_download"}
    assert capsys.readouterr() == ("", "")


def test_file_that_is_not_the_expected_one_is_refused(tmp_path, web_builder, monkeypatch):
    ((url, info),) = web_builder.url_infos.items()
    monkeypatch.setattr(web_builder, "url_infos", {url: dataclasses.replace(info, checksum="0" * 64)})

    with pytest.raises(DataError, match="wrong checksum"):
        list_tfds(TfdsSource(name=web_builder.name, data_dir=str(tmp_path)))


@pytest.mark.parametrize(("answer", "words"), [(503, "no answer from 127.0.0.1"), (404, "HTTP code: 404")])
def test_server_without_the_file_is_told_soon(tmp_path, web_builder, monkeypatch, answer, words):
    monkeypatch.setattr(web_builder, "answer", answer)
    start_s = time.monotonic()

    with pytest.raises(DataError, match=words):
        list_tfds(TfdsSource(name=web_builder.name, data_dir=str(tmp_path)))

    assert time.monotonic() - start_s < 15
