"""Groups that the source's own splits tear apart, of which a run uses a part."""

from collections.abc import Iterator, Sequence
from typing import Final

from transferkit.data.listing import Picture
from transferkit.data.splits import Assigned
from transferkit.doctor.findings import Evidence, Finding, counted

_MANY: Final = 0.1


def find_torn_groups(pictures: Sequence[Picture], assigned: Assigned) -> Iterator[Finding]:
    """A finding if pictures are in no split since their group is in another one; those that folds set aside are not.

    Args:
        assigned: the splits of these pictures.
    """
    set_aside = {picture.path for picture in pictures if picture.split == "test"}  # in no split only where folds are
    torn = [one for one in assigned.skipped if one.path not in set_aside]
    if not torn:
        return
    yield Finding(
        kind="torn_groups",
        severity="warning" if len(torn) > _MANY * len(pictures) else "note",
        title=f"{counted(len(torn), 'picture')} left out because their group is in another split",
        meaning="The source's own splits tear groups apart. Of each group only the part in test, else the one in "
        "validation, is used, so that nothing is trained on that is reported on. Results that other programs got on "
        "these splits are too good.",
        advice="Put each group into one split, or let the source tell no splits, so that data.split makes them.",
        pictures=tuple(Evidence(one.path, one.reason) for one in torn),
        num=len(torn),
    )
