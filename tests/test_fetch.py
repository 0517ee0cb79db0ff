"""What a machine without network needs comes in one folder, and is enough there. The only server is on this machine."""

import dataclasses
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import zipfile

import pytest
import typer
from typer.testing import CliRunner

from transferkit.backbones.download import download_weights
from transferkit.backbones.spec import WeightsFile
from transferkit.backbones.table import BACKBONES
from transferkit.check import load_recipe
from transferkit.data import archive_source
from transferkit.data.folder_source import list_folder
from transferkit.data.source import is_on_this_machine, list_source
from transferkit.download.file import FETCH
from transferkit.errors import DownloadError, TransferkitError
from transferkit.fetch import _FETCHES, fetch
from transferkit.progress import Quiet
from transferkit.recipe.source import SOURCE_SPECS

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    """Nothing is found on this machine."""
    monkeypatch.setenv("TRANSFERKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("TRANSFERKIT_MIRROR", "TRANSFERKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home", tmp_path / "keras" / "models"


@pytest.fixture
def told():
    progress = Quiet()
    progress.lines = []
    progress.say = progress.lines.append
    return progress


@pytest.fixture
def toy_weights(web, monkeypatch):
    """Weights of vgg16 that are a few bytes on this machine's server."""
    web.files["toy.h5"] = WEIGHTS
    file = WeightsFile(web.url("toy.h5"), hashlib.md5(WEIGHTS).hexdigest())
    rows = {**BACKBONES, "vgg16": dataclasses.replace(BACKBONES["vgg16"], imagenet=file)}
    monkeypatch.setattr("transferkit.fetch.BACKBONES", rows)
    return file


@pytest.fixture
def recipe(web, tmp_path, picture_folder):
    """A recipe of the pictures, in an archive on this machine's server."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(picture_folder.rglob("*.png")):
            archive.write(path, path.relative_to(picture_folder.parent))
    web.files["photos.zip"] = packed.getvalue()
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"data:\n  source: {{archive: '{web.url('photos.zip')}', sha256: {sha256}}}\nmodel: {{backbone: vgg16}}\n"
    )
    return path


def test_fetched_folder_is_enough_without_the_server(
    web, recipe, toy_weights, picture_folder, tmp_path, homes, monkeypatch, told
):
    carried = tmp_path / "carried"
    loaded = load_recipe(recipe)
    assert fetch(loaded, folder=tmp_path / "to", progress=told) == tmp_path / "to"
    web.stop()
    (tmp_path / "to").rename(carried)
    monkeypatch.setenv("TRANSFERKIT_HOME", str(carried))
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    listing = list_source(loaded.data)
    weights = download_weights("vgg16", toy_weights)

    assert is_on_this_machine(loaded.data)
    assert listing.pictures == list_folder(picture_folder).pictures
    assert sum(isinstance(picture, bytes) for picture in listing.read(range(24))) == 24
    assert weights == carried / "weights" / "toy.h5"
    assert weights.read_bytes() == WEIGHTS
    assert not homes[0].exists()
    assert any("toy.h5" in line and "downloaded" in line for line in told.lines)
    assert any("24 files" in line and "downloaded and unpacked" in line for line in told.lines)


def test_fetching_again_downloads_nothing(web, recipe, toy_weights, tmp_path, told):
    fetch(load_recipe(recipe), folder=tmp_path / "to", progress=Quiet())
    web.asked.clear()

    fetch(load_recipe(recipe), folder=tmp_path / "to", progress=told)

    assert web.asked == []
    assert [line.rpartition(", ")[2] for line in told.lines] == ["was there", "was there"]


def test_pictures_that_are_there_are_counted_once(recipe, toy_weights, monkeypatch):
    fetch(load_recipe(recipe), progress=Quiet())
    counted = []
    count_files = archive_source._count_files
    monkeypatch.setattr(archive_source, "_count_files", lambda folder: counted.append(folder) or count_files(folder))

    fetch(load_recipe(recipe), progress=Quiet())

    assert len(counted) == 1


def test_home_is_filled_where_no_folder_is_named(recipe, toy_weights, homes):
    assert fetch(load_recipe(recipe), progress=Quiet()) == homes[0]
    assert (homes[0] / "weights" / "toy.h5").is_file()


@pytest.mark.parametrize("place", [0, 1], ids=["home", "Keras' cache"])
def test_weights_that_are_on_this_machine_are_copied(web, recipe, toy_weights, homes, place, tmp_path, told):
    folder = (homes[0] / "weights", homes[1])[place]
    folder.mkdir(parents=True)
    (folder / "toy.h5").write_bytes(WEIGHTS)

    fetch(load_recipe(recipe), folder=tmp_path / "to", progress=told)

    assert (tmp_path / "to" / "weights" / "toy.h5").read_bytes() == WEIGHTS
    assert "toy.h5" not in [name for name, _ in web.asked]
    assert f"copied from {folder}" in told.lines[0]


def test_pictures_that_are_in_the_home_are_copied_into_the_folder(
    web, recipe, toy_weights, homes, picture_folder, tmp_path, monkeypatch, told
):
    loaded = load_recipe(recipe)
    fetch(loaded, progress=Quiet())
    web.stop()

    fetch(loaded, folder=tmp_path / "to", progress=told)

    shutil.rmtree(homes[0])
    monkeypatch.setenv("TRANSFERKIT_HOME", str(tmp_path / "to"))
    assert f"copied from {homes[0]}" in told.lines[-1]
    assert list_source(loaded.data).pictures == list_folder(picture_folder).pictures


def test_folder_that_has_lost_pictures_is_not_said_to_be_there(web, recipe, toy_weights, homes, told):
    loaded = load_recipe(recipe)
    fetch(loaded, progress=Quiet())
    next((homes[0] / "archives").rglob("*.png")).unlink()

    fetch(loaded, progress=told)

    assert "24 files" in told.lines[-1]
    assert told.lines[-1].endswith("downloaded and unpacked")


def test_offline_recipe_without_its_data_says_what_to_fetch(recipe, homes, web, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    with pytest.raises(TransferkitError) as caught:
        list_source(load_recipe(recipe).data)

    assert "transferkit fetch RECIPE" in str(caught.value)
    assert not is_on_this_machine(load_recipe(recipe).data)
    assert web.asked == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["data.source={sample: clipart}"], "comes with transferkit"),
        (["data.source={folder: photos}"], "files of yours: photos; take them along"),
        (["data.source={csv: labels.csv}"], "files of yours: labels.csv; take them along"),
        (["model.backbone=efficientnet_lite0"], "come with the installation"),
        (["model.weights=none"], "the backbone starts at random"),
    ],
)
def test_what_needs_no_download_is_said_so(recipe, toy_weights, changes, words, told):
    fetch(load_recipe(recipe, changes), progress=told)

    assert any(words in line for line in told.lines)


def test_every_source_is_known_to_fetch():
    assert set(_FETCHES) == {spec.model_fields["kind"].default for spec in SOURCE_SPECS}


def test_command_fetches_and_prints_the_command_for_the_other_machine(recipe, tmp_path, homes):
    arguments = ["fetch", str(recipe), "--set", "model.backbone=efficientnet_lite0", "--to", "usb stick"]

    done = subprocess.run(
        [sys.executable, "-m", "transferkit", *arguments], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "usb stick" / "archives").is_dir()
    assert done.stdout.splitlines()[-1] == (
        f"  TRANSFERKIT_HOME='{tmp_path / 'usb stick'}' transferkit finetune {recipe} "
        "--set model.backbone=efficientnet_lite0 --offline"
    )
    assert not homes[0].exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["finetune", "a recipe.yaml", "--offline"], marks=pytest.mark.model),
        ["show", "a recipe.yaml", "--offline"],
        ["doctor", "a recipe.yaml", "--quick", "--offline"],
    ],
    ids=lambda command: command[0],
)
def test_offline_command_names_what_to_fetch_and_asks_nothing(recipe, web, tmp_path, monkeypatch, capfd, command):
    from transferkit.cli.app import main

    def ask(*_):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, ask)
    monkeypatch.setattr(socket, "getaddrinfo", ask)
    recipe.rename(tmp_path / "a recipe.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "")  # so that it is put back
    changed = [*command, "--set", "model.backbone=efficientnet_lite0"]
    monkeypatch.setattr(sys, "argv", ["transferkit", *changed])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    fetching = "transferkit fetch 'a recipe.yaml' --set model.backbone=efficientnet_lite0 --to DIR"
    assert f"run `{fetching}` there" in capfd.readouterr().err
    assert web.asked == []


def test_folder_of_pictures_is_not_taken_for_a_recipe_to_fetch(tmp_path, monkeypatch, capsys):
    from transferkit.cli.app import main

    def find_files(_):
        raise DownloadError(f"run `{FETCH}`")

    monkeypatch.setattr("transferkit.data.source.find_files", find_files)
    monkeypatch.setattr(sys, "argv", ["transferkit", "doctor", str(tmp_path)])

    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().err == f"run `{FETCH}`\n"


def test_interrupted_command_says_that_what_has_come_stays(recipe, tmp_path, monkeypatch, capsys):
    from transferkit.cli.app import main

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.fetch.fetch", interrupt)
    monkeypatch.setattr(sys, "argv", ["transferkit", "fetch", str(recipe)])

    with pytest.raises(SystemExit) as ended:
        main()

    printed = capsys.readouterr()
    assert ended.value.code == 130
    assert "the same command goes on" in printed.out
    assert printed.err.strip() == "interrupted"


@pytest.mark.parametrize(("arguments", "expected"), [(["--offline"], "1"), ([], None)])
def test_offline_option_is_seen_by_all_that_downloads(arguments, expected, monkeypatch):
    from transferkit.cli.options import OfflineOption

    app = typer.Typer()
    seen = []

    @app.command()
    def look(offline: OfflineOption = False) -> None:
        seen.append(os.environ.get("TRANSFERKIT_OFFLINE"))

    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "")  # so that it is put back
    monkeypatch.delenv("TRANSFERKIT_OFFLINE")
    CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert seen == [expected]


@pytest.mark.parametrize("verb", ["finetune", "plan", "doctor", "show"])
def test_verb_can_be_told_to_stay_offline(verb):
    from transferkit.cli.app import app

    result = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "120"})

    assert "--offline" in result.output
