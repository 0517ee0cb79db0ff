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


class RunFolderError(TransferkitError):
    """A run folder that is in the way, incomplete, or not one at all."""


class TrainingError(TransferkitError):
    """Training that cannot go on, such as a loss that is not a number."""


class RuntimeSetupError(TransferkitError):
    """A machine or Keras set-up that transferkit does not support."""


class PictureError(TransferkitError):
    """One picture that cannot be read; the message is the reason, ready for a table."""


NOTHING = object()
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


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

    def __str__(self) -> str:
        text = ", ".join(part for part in (self.where, self.path) if part)
        text += ": " if text else ""
        text += self.rule if self.given is NOTHING else f"{_SHORT.repr(self.given)} {self.rule}"
        if guess := difflib.get_close_matches(str(self.given), self.allowed, n=1):
            text += f"; did you mean {guess[0]!r}?"
        if self.allowed:
            text += f"\n    allowed: {', '.join(self.allowed)}"
        return text


class RecipeError(TransferkitError):
    """All faults of one recipe at once.

    Args:
        source: file name or other origin, shown first.
        problems: in the order of the file.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in self.problems)]))
