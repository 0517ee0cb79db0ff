"""Arguments that several verbs share."""

import os
import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

# The recipe and the changes that this command was given, for what it says at its end.
_given: dict[str, Sequence[str]] = {"recipe": (), "changes": ()}


def note_recipe(recipe: str) -> str:
    """Keep it for `with_fetch_command`, unless it is a folder of pictures."""
    _given["recipe"] = () if os.path.isdir(recipe) else (recipe,)
    return recipe


def _note_changes(changes: list[str] | None) -> list[str] | None:
    _given["changes"] = changes or ()
    return changes


def with_changes(command: Sequence[str], changes: Sequence[str]) -> str:
    """A command as a person types it."""
    return shlex.join([*command, *(word for change in changes for word in ("--set", change))])


def with_fetch_command(text: str) -> str:
    """An error's text, in which the command that fetches is the one for this command's recipe."""
    from transferkit.download.file import FETCH

    if not _given["recipe"]:
        return text
    return text.replace(FETCH, with_changes(["transferkit", "fetch", *_given["recipe"]], _given["changes"]))


RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        callback=note_recipe,
        help="A recipe file, or the name of a shipped recipe such as quickstart.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=_note_changes,
        help="Change one key, such as phases[0].epochs=3. May be repeated.",
    ),
]


def _go_offline(wanted: bool) -> bool:
    if wanted:
        os.environ["TRANSFERKIT_OFFLINE"] = "1"  # which processes that are started from here see as well
    return wanted


OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        callback=_go_offline,
        help="Ask nothing of the network; `transferkit fetch` brings ahead what is needed.",
    ),
]
