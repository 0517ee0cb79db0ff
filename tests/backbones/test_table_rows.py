import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from transferkit.backbones.spec import WeightsFile
from transferkit.backbones.table import BACKBONES

ROWS = list(BACKBONES.values())


@pytest.fixture(params=ROWS, ids=lambda spec: spec.name)
def spec(request):
    return request.param


def test_row_stands_under_its_own_name():
    assert {key: spec.name for key, spec in BACKBONES.items()} == {name: name for name in BACKBONES}


def test_row_says_where_its_network_and_weights_come_from(spec):
    assert re.search(r"(19|20)\d\d, https://\S+$", spec.source)
    assert spec.licence in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC BY 4.0")


def test_row_has_sizes_that_go_together(spec):
    assert 32 <= spec.min_size_px <= spec.image_size_px
    assert spec.num_stages == len(spec.stage_ends) >= 3


@pytest.mark.parametrize(
    "spec", [spec for spec in ROWS if isinstance(spec.imagenet, WeightsFile)], ids=lambda spec: spec.name
)
def test_published_weights_have_an_address_and_a_hash(spec):
    url = urlsplit(spec.imagenet.url)

    assert url.scheme == "https"
    assert url.hostname == "storage.googleapis.com"
    assert url.path.startswith("/tensorflow/keras-applications/")
    assert spec.imagenet.name == f"{spec.name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert re.fullmatch(r"[0-9a-f]{32}", spec.imagenet.md5)


def test_published_weights_are_one_file_for_each_row():
    files = [spec.imagenet for spec in ROWS if isinstance(spec.imagenet, WeightsFile)]

    assert len({file.url for file in files}) == len({file.md5 for file in files}) == len(files)


def test_reading_the_table_imports_no_keras():
    code = "import sys, transferkit.backbones.table; print(*{'keras', 'tensorflow'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
