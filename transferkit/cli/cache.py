"""`transferkit cache`: what is kept for later runs, and removing it."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="See or remove what is kept for later runs.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="cache.folder of the recipe; default: TRANSFERKIT_HOME, or ~/.cache/transferkit."),
]


@app.command("list")
def list_stores(folder: Folder = None) -> None:
    """Print what is kept: the longest unused, which goes first, on top."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from transferkit.recipe.runtime import CacheSpec
    from transferkit.store.catalog import DOWNLOADS, list_contents, list_folders

    root = _root(folder)
    stores, folders = list_contents(root), list_folders(root)
    if stores or folders:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for name in ("kind", "for", "rows", "size", "last used"):
            justify = "right" if name in ("rows", "size") else "left"
            table.add_column(name, justify=justify, no_wrap=name != "for", overflow="fold")
        for one in stores:
            moment = time.localtime(one.size.used_ns / 1e9)
            used = time.strftime("%Y-%m-%d %H:%M", moment) if one.size.used_ns else "unknown"
            size = show_bytes(one.size.num_bytes)
            table.add_row(one.kind, Text(one.about or "damaged"), f"{one.num_rows:,}", size, used)
        for one in folders:
            about = "downloads" if one.kind in DOWNLOADS else "pairs of pictures that look alike"
            table.add_row(one.kind, about, "", show_bytes(one.num_bytes), "")
        console = Console()
        (console if console.is_terminal else Console(width=200)).print(table)
    total = show_bytes(sum(one.size.num_bytes for one in stores) + sum(one.num_bytes for one in folders))
    max_gb = CacheSpec().max_gb
    typer.echo(
        f"{total} in {root}; of pictures and features at most {max_gb:g} GB are kept, unless a recipe says otherwise "
        "(cache.max_gb)"
    )


@app.command("clear")
def clear(
    kind: Annotated[
        Literal["pictures", "features", "lookalikes", "archives", "weights", "tensorflow_datasets"] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Remove this kind alone: pictures, features, lookalikes; downloads: archives, weights, "
            "tensorflow_datasets.",
            show_default=False,
        ),
    ] = None,
    folder: Folder = None,
) -> None:
    """Remove what was computed. Runs that use it go on; later ones make it anew.

    Downloads go only where --kind names them; no run may be using them then.
    """
    from transferkit.data.stamps import STAMPS_FILE
    from transferkit.store.catalog import DOWNLOADS, KINDS, empty_folder, list_folders, remove_stores

    root = _root(folder)
    gone, left = remove_stores(root, kind) if kind in (None, *KINDS) else ([], [])
    if kind in (None, "pictures"):
        with suppress(OSError):  # it may be missing, and does no harm where it cannot be removed
            (root / STAMPS_FILE).unlink()
    num_gone, num_left, freed = len(gone), len(left), sum(one.size.num_bytes for one in gone)
    for one in list_folders(root):
        if one.kind == (kind or "lookalikes"):
            if empty_folder(root, one.kind):
                num_gone, freed = num_gone + 1, freed + one.num_bytes
            else:
                num_left += 1
    typer.echo(f"{num_gone} removed, {show_bytes(freed)} freed in {root}")
    if num_left:
        typer.echo(
            f"{num_left} could not be removed: another process writes there, or the folder is read-only", err=True
        )
    if kind is None:
        for one in list_folders(root):
            if one.kind in DOWNLOADS:
                size = show_bytes(one.num_bytes)
                typer.echo(f"{one.kind} stay, {size} of downloads; to remove them, add --kind {one.kind}")


def show_bytes(num_bytes: int) -> str:
    """`0.4 MB`, `37.2 MB`, `1.24 GB`; a GB is 10^9 bytes, as in `cache.max_gb`."""
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _root(folder: Path | None) -> Path:
    from transferkit.store.rows import cache_root

    return cache_root(str(folder) if folder else None, os.environ)
