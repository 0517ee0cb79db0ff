"""Where the pictures come from."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from transferkit.recipe.spec import Choice, Spec, choice_of


def _of_the_web(url: str) -> str:
    if not re.match("https?://[^/]", url):
        raise ValueError("must begin with http:// or https://")
    return url


def _hexadecimal(digest: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("must be 64 digits, 0–9 and a–f")
    return digest


Url = Annotated[str, AfterValidator(_of_the_web)]
Sha256 = Annotated[str, AfterValidator(_hexadecimal)]


class FolderSource(Choice):
    """Pictures in one sub-folder per class, or in `train/`, `validation/`, `test/` folders of such sub-folders."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description="Relative to where the command runs.")


class ArchiveSource(Choice):
    """Pictures in class folders inside a .zip or .tar file, which is downloaded and unpacked once."""

    kind: Literal["archive"] = "archive"
    url: Url = Field(description="Where the file is.")
    sha256: Sha256 | None = Field(None, description="Of the file; another file is refused.")
    inside: str | None = Field(
        None, min_length=1, description="In the archive, with the class folders; default: found."
    )


class TableSource(Choice):
    """Pictures that a table names, one in each row."""

    path: str = Field(min_length=1, description="The table; relative to where the command runs.")
    root: str | None = Field(None, min_length=1, description="What paths in it are relative to; default: its folder.")
    path_column: str = "path"
    label_column: str = Field("label", description="A class name; with binary_cross_entropy a list of them.")
    separator: str = Field(";", min_length=1, description="Between the classes of one picture, where a list is text.")
    split_column: str | None = Field(None, description="Default: `split`, where there is such a column; '' for none.")
    weight_column: str | None = Field(None, description="Default: `weight`, where there is such a column; '' for none.")
    group_column: str | None = Field(
        None, description="Default: `group`, where there is one, '' for none; a group is never split."
    )


class CsvSource(TableSource):
    """A CSV file with a header line."""

    kind: Literal["csv"] = "csv"


class JsonlSource(TableSource):
    """A file with one JSON object per line."""

    kind: Literal["jsonl"] = "jsonl"


class ParquetSource(TableSource):
    """A Parquet file."""

    kind: Literal["parquet"] = "parquet"


class TfdsSplits(Spec):
    """Which of the data set's own examples go where, in TensorFlow Datasets' split syntax, such as `train[:80%]`."""

    train: str = "train"
    validation: str | None = None
    test: str | None = None


class TfdsSource(Choice):
    """A data set of TensorFlow Datasets, by name."""

    kind: Literal["tfds"] = "tfds"
    name: str = Field(min_length=1, description="Such as `tf_flowers`; `name/config:version` also works.")
    data_dir: str | None = Field(
        None, description="Folder of prepared data sets; default: TRANSFERKIT_HOME's or ~/tensorflow_datasets."
    )
    splits: TfdsSplits | None = Field(None, description="Default: the data set's own.")
    try_gcs: bool = Field(False, description="Look for the prepared data set in Google's bucket first.")


class ArraysSource(Choice):
    """Pictures that Python code hands to `FineTuner`; a recipe file cannot name them."""

    kind: Literal["arrays"] = "arrays"
    digest: Sha256 = Field(description="sha256 of pictures and labels.")


class SampleSource(Choice):
    """The picture set that comes with transferkit."""

    kind: Literal["sample"] = "sample"
    name: Literal["clipart"] = "clipart"


SOURCE_SPECS = (
    FolderSource,
    ArchiveSource,
    CsvSource,
    JsonlSource,
    ParquetSource,
    TfdsSource,
    ArraysSource,
    SampleSource,
)
Source = choice_of(*SOURCE_SPECS, what="a source")
