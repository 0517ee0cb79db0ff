"""Arguments that several verbs share."""

import os
import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from transferkit.errors import TransferkitError


def with_changes(command: Sequence[str], changes: Sequence[str]) -> str:
    """A command as a person types it."""
    return shlex.join([*command, *(word for change in changes for word in ("--set", change))])


class RecipeVerb(TyperCommand):
    """A verb of one recipe: an error that advises to fetch names the command for that very recipe."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TransferkitError as error:
            from transferkit.download.file import FETCH

            recipe = ctx.params.get("recipe") or ctx.params["target"]
            if FETCH in str(error) and not os.path.isdir(recipe):
                command = with_changes(["transferkit", "fetch", recipe], ctx.params["changes"] or ())
                error.args = (str(error).replace(FETCH, command),)
            raise


RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe such as quickstart.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, such as phases[0].epochs=3. May be repeated."),
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
