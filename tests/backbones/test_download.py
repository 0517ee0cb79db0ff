"""Where a file of weights is found, where it goes, and what a person reads who cannot have it."""

import hashlib
import socket
import subprocess
import sys

import pytest

from transferkit.backbones.download import download_weights
from transferkit.backbones.spec import WeightsFile
from transferkit.download import transfer
from transferkit.errors import WeightsError

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()
NAME = "toy_notop.h5"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    for name in ("ANSWER_S", "STALL_S", "PATIENCE_S"):
        monkeypatch.setattr(transfer, name, 0.5)
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.02)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """The two folders where weights are looked for: transferkit's and Keras'."""
    monkeypatch.setenv("TRANSFERKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "home" / "weights", tmp_path / "keras" / "models"


@pytest.fixture
def file(web):
    web.files[NAME] = CONTENT
    return WeightsFile(web.url(NAME), MD5)


def fail_to_download(file) -> str:
    with pytest.raises(WeightsError) as caught:
        download_weights("toy", file)
    return str(caught.value)


def assert_helpful(message, file, weights):
    assert message.startswith("The ImageNet weights of toy ")
    assert f"from:  {file.url}\n" in message
    assert f"to:    {weights / NAME}\n" in message
    assert len(message.splitlines()) < 12
    for words in ("efficientnet_lite0", "--set model.weights=PATH", "TRANSFERKIT_MIRROR", "TRANSFERKIT_HOME", "fetch"):
        assert words in message


def test_download_puts_the_file_into_the_home_folder(folders, file):
    path = download_weights("toy", file)

    assert path == folders[0] / NAME
    assert path.read_bytes() == CONTENT
    assert not folders[1].exists()


def test_home_may_be_given(tmp_path, file):
    assert download_weights("toy", file, home=tmp_path / "to") == tmp_path / "to" / "weights" / NAME


def test_downloaded_file_is_used_again_without_asking_the_server(web, file):
    download_weights("toy", file)
    web.asked.clear()

    path = download_weights("toy", file)

    assert path.read_bytes() == CONTENT
    assert web.asked == []


def test_file_that_keras_has_downloaded_before_is_used_as_it_is(folders, web, file):
    folders[1].mkdir(parents=True)
    (folders[1] / NAME).write_bytes(CONTENT)

    assert download_weights("toy", file) == folders[1] / NAME
    assert web.asked == []


def test_keras_cache_is_in_the_user_s_folder_unless_told_otherwise(tmp_path, file, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / ".keras" / "models").mkdir(parents=True)
    (tmp_path / ".keras" / "models" / NAME).write_bytes(CONTENT)

    assert download_weights("toy", file) == tmp_path / ".keras" / "models" / NAME


def test_wrong_file_in_keras_cache_is_left_alone_and_not_used(folders, file):
    folders[1].mkdir(parents=True)
    (folders[1] / NAME).write_bytes(CONTENT[:50])

    assert download_weights("toy", file) == folders[0] / NAME
    assert (folders[1] / NAME).read_bytes() == CONTENT[:50]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda asked: asked.send_file(b"something else"), f"not {MD5}"),
        (lambda asked: asked.send_file(until=100, ranges=False), "broke off"),
        (lambda asked: asked.send_error(404), "404"),
        (lambda asked: asked.fall_silent(), "no answer within 0.5 s"),
    ],
    ids=["another file", "half", "not found", "silent"],
)
def test_bad_answer_is_an_error_that_says_what_to_do(answer, reason, folders, web, file):
    web.always = answer

    message = fail_to_download(file)

    assert_helpful(message, file, folders[0])
    assert reason in message
    assert not (folders[0] / NAME).exists()
    web.always = lambda asked: asked.send_file()
    assert download_weights("toy", file).read_bytes() == CONTENT


def test_file_that_is_not_the_published_one_is_replaced(folders, file):
    folders[0].mkdir(parents=True)
    (folders[0] / NAME).write_bytes(CONTENT[:50])

    assert download_weights("toy", file).read_bytes() == CONTENT


def test_file_that_is_not_the_published_one_is_kept_and_not_used_where_it_cannot_be_replaced(folders, web, file):
    folders[0].mkdir(parents=True)
    (folders[0] / NAME).write_bytes(b"put there by hand")
    web.files.clear()

    message = fail_to_download(file)

    assert "on this machine are not the published ones" in message
    assert (folders[0] / NAME).read_bytes() == b"put there by hand"


def test_refused_connection_is_an_error_that_says_what_to_do(folders):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file = WeightsFile(f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}", MD5)

        message = fail_to_download(file)

    assert_helpful(message, file, folders[0])
    assert "refused" in message


def test_offline_run_is_told_how_the_file_can_come(folders, web, file, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    message = fail_to_download(file)

    assert_helpful(message, file, folders[0])
    assert "this run is offline" in message
    assert web.asked == []


def test_folder_that_cannot_be_written_is_an_error_that_names_it(folders, file):
    folders[0].parent.write_text("a file where a folder should be")

    message = fail_to_download(file)

    assert_helpful(message, file, folders[0])
    assert str(folders[0].parent) in message.splitlines()[0]


def test_downloading_needs_no_keras(web, file, tmp_path):
    program = (
        "import sys; from pathlib import Path; from transferkit.backbones.download import download_weights; "
        "from transferkit.backbones.spec import WeightsFile; "
        f"download_weights('toy', WeightsFile({file.url!r}, {MD5!r})); "
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
