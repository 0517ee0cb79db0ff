"""The only errors that a user sees as plain text; anything else is our bug and keeps its traceback."""

import difflib
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass


class TransferkitError(Exception):
    """Something that the user can mend. The message says where, what, what is allowed and what to do next."""

    exit_code = 2


class DataError(TransferkitError):
    """The pictures cannot be used as the recipe asks."""


class WeightsError(TransferkitError):
    """Weights that are not there, cannot be read, or belong to another backbone."""


class DownloadError(TransferkitError):
    """A file that cannot be had from the network."""


class CacheError(TransferkitError):
    """A cache folder that cannot be read or written, or whose disk is full."""


class RunFolderError(TransferkitError):
    """A run folder that is in the way, incomplete, or not one at all."""


class TrainingError(TransferkitError):
    """Training that cannot go on, such as a loss that is not a number."""


class CheckpointError(TransferkitError):
    """A run's state that cannot be written or read."""


class RuntimeSetupError(TransferkitError):
    """A machine or Keras set-up that transferkit does not support."""


class PeerError(TransferkitError):
    """Another process of the same run is missing or has died; the run can be resumed once all are there again."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class PictureError(TransferkitError):
    """One picture that cannot be read; the message is the reason, ready for a table."""


class PictureTooLargeError(PictureError):
    """One picture that was not decoded, since it is over the recipe's limit."""


NOTHING = object()
_MAX_PROBLEMS_SHOWN = 30


class _AsYaml(reprlib.Repr):
    """Values as a recipe writes them, cut to a line."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_bool(self, value: bool, _: int) -> str:
        return "true" if value else "false"

    def repr_NoneType(self, _: None, __: int) -> str:
        return "null"

    def repr_int(self, value: int, level: int) -> str:
        try:
            return super().repr_int(value, level)
        except ValueError:  # Python writes out no number of more than 4300 digits
            return "a very long number"


show_value = _AsYaml().repr


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a recipe.

    Args:
        path: key path, such as `phases[1].ramp_epochs`.
        rule: completes the sentence "<given> …"; a whole sentence where `given` is `NOTHING`.
        allowed: what could stand there instead; the nearest is proposed.
        where: `line 9`, or `--set` for an override.
    """

    path: str
    given: object
    rule: str
    allowed: tuple[str, ...] = ()
    where: str = ""

    @property
    def guess(self) -> str | None:
        """What was probably meant."""
        near = difflib.get_close_matches(self.given, self.allowed, n=1) if isinstance(self.given, str) else []
        return near[0] if near else None

    def __str__(self) -> str:
        text = ", ".join(part for part in (self.where, self.path) if part)
        text += ": " if text else ""
        text += self.rule if self.given is NOTHING else f"{show_value(self.given)} {self.rule}"
        if self.guess:
            text += f"; did you mean {self.guess!r}?"
        if self.allowed:
            text += f"\n    allowed: {', '.join(self.allowed)}"
        return text


class RecipeError(TransferkitError):
    """All faults of one recipe at once; the message shows no more than a screen holds.

    Args:
        source: file name or other origin, shown first.
        problems: in the order of the file.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        lines = [f"{source}: {count}", *(f"  {problem}" for problem in self.problems[:_MAX_PROBLEMS_SHOWN])]
        if len(self.problems) > _MAX_PROBLEMS_SHOWN:
            lines.append(f"  and {len(self.problems) - _MAX_PROBLEMS_SHOWN} more")
        super().__init__("\n".join(lines))
