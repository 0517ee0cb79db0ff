"""The command line: one file per verb, the only place that prints and picks exit codes."""

import logging
import os
import sys
from typing import Annotated

import typer
import typer.core

import transferkit
from transferkit.cli import cache, check, doctor, fetch, finetune, plan, predict, recipe, show
from transferkit.cli.options import RecipeVerb
from transferkit.errors import TransferkitError

INTERRUPTED = 130


class _Verbs(typer.core.TyperGroup):
    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which typer itself would say nothing
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Verbs,
    help="Fine-tune ImageNet backbones on your own pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("finetune", cls=RecipeVerb)(finetune.finetune)
app.command("predict")(predict.predict)
app.command("plan", cls=RecipeVerb)(plan.plan)
app.command("check")(check.check)
app.command("fetch", cls=RecipeVerb)(fetch.fetch)
app.command("doctor", cls=RecipeVerb)(doctor.doctor)
app.command("show", cls=RecipeVerb)(show.show)
app.add_typer(recipe.app, name="recipe")
app.add_typer(cache.app, name="cache")


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
    """Run the command line.

    Exit codes: 0 done, 1 our fault (with traceback) or doctor's --strict, 2 the user's, 75 another
    process of the run is gone, 130 interrupted, 143 stopped by SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files and classes may hold what the terminal has no letter for
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as leave:
        _leave(leave.code)
    except TransferkitError as error:
        print(error, file=sys.stderr)
        _leave(error.exit_code)
    except BrokenPipeError:  # such as `| head`
        sys.stderr.close()
        sys.exit(0)


def _leave(code: object) -> None:
    jax = sys.modules.get("jax")
    if code and jax and jax.distributed.is_initialized():
        # JAX's own goodbye would wait for processes that are gone, and then abort with another code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
