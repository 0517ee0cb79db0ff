"""The command line: one file per verb, the only place that prints and picks exit codes."""

import logging
import sys
from typing import Annotated

import typer

import transferkit
from transferkit.cli import check, finetune, plan, predict, recipe
from transferkit.errors import TransferkitError

INTERRUPTED = 130

app = typer.Typer(
    help="Fine-tune ImageNet backbones on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("finetune")(finetune.finetune)
app.command("predict")(predict.predict)
app.command("plan")(plan.plan)
app.command("check")(check.check)
app.add_typer(recipe.app, name="recipe")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"transferkit {transferkit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 our fault (with traceback), 2 the user's, 130 interrupted."""
    try:
        app()
    except TransferkitError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # such as `| head`
        sys.stderr.close()
        sys.exit(0)
