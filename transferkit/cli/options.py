"""Arguments that several verbs share."""

import os
from typing import Annotated

import typer

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
