"""Where the pictures come from, and how they are split, sized and batched."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from transferkit.recipe.spec import Choice, Spec, choice_of


class FolderSource(Choice):
    """Pictures in one sub-folder per class, or in `train/`, `validation/`, `test/` folders of such sub-folders."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description="Relative to where the command runs.")


class TfdsSplits(Spec):
    """Which of the data set's own examples go where, in TensorFlow Datasets' split syntax, such as `train[:80%]`."""

    train: str = "train"
    validation: str | None = None
    test: str | None = None


class TfdsSpec(Choice):
    """A data set of TensorFlow Datasets, by name."""

    kind: Literal["tfds"] = "tfds"
    name: str = Field(min_length=1, description="Such as `tf_flowers`; `name/config:version` also works.")
    data_dir: str | None = Field(None, description="Folder of prepared data sets; default ~/tensorflow_datasets.")
    splits: TfdsSplits | None = Field(None, description="Default: the data set's own.")


class SampleSource(Choice):
    """The picture set that comes with transferkit."""

    kind: Literal["sample"] = "sample"
    name: Literal["clipart"] = "clipart"


Source = choice_of(FolderSource, TfdsSpec, SampleSource, what="a source")


class SplitSpec(Spec):
    """Shares of each class, as fractions; the rest trains. A source's own splits win."""

    validation: Annotated[float, Field(gt=0, lt=1, description="Chooses the best epoch, so it cannot be empty.")] = 0.1
    test: Annotated[float, Field(ge=0, lt=1, description="Reports, and is read once.")] = 0.1


class DataSpec(Spec):
    """Pictures, from their source to the batches."""

    source: Source
    split: SplitSpec = SplitSpec()
    image_size: PositiveInt | None = Field(None, le=4096, description="Pixels per side; default: the backbone's.")
    resize: Literal["crop", "pad", "stretch"] = "crop"
    batch_size: PositiveInt = Field(32, le=65_536, description="Global, over all replicas.")
    cache: Literal["auto", "memory", "disk"] = Field("auto", description="Where prepared pictures are kept.")
    max_megapixels: PositiveFloat = Field(100.0, description="Larger pictures are left out.")
