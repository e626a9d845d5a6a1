"""The commands that find, download and inspect the images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from lthrun.cli import options as opt
from lthrun.errors import MissingData

if TYPE_CHECKING:
    from lthrun.report.screen import Screen

T = TypeVar("T")
app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, help="Find, download and inspect the images.")
app.add_typer(data_app, name="data", rich_help_panel="Data, configs and results")
KEYS = opt.common_options("data.dir", "data.skip_unreadable")


def offer_download(action: Callable[[], T], dataset: str, screen: Screen) -> T:
    """Do it; if the data set is missing and a person is at the terminal, offer to download it first."""
    try:
        return action()
    except MissingData:
        from lthrun.data import DATASETS

        download = DATASETS[dataset].download
        if download is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        with screen.paused():
            question = f"{download.title} is not on this machine. Download it now ({download.size})?"
            if not typer.confirm(question, err=True):
                raise
            download.fetch()
        return action()


@data_app.command()
@opt.key_options(KEYS)
def prepare(config: opt.ConfigFile = None, set: opt.Sets = [], quiet: opt.Quiet = False, **typed: Any) -> None:
    """Find the images, or download them, and decode them into the store."""
    open_images(config, set, typed, True, False, quiet)


@data_app.command()
@opt.key_options(opt.common_options("data.dir"))
def info(config: opt.ConfigFile = None, set: opt.Sets = [], json: opt.Json = False, **typed: Any) -> None:
    """Counts, classes, split, majority rate, duplicates, near-duplicates and unreadable files."""
    open_images(config, set, typed, False, json, False)


def open_images(
    source: str | None, sets: list[str], typed: dict[str, Any], is_download: bool, as_json: bool, quiet: bool
) -> None:
    """Open the store of a data set, made if it is missing, and describe it."""
    from lthrun.data import DATASETS
    from lthrun.data.near_duplicates import find_near_duplicates
    from lthrun.data.store import open_store
    from lthrun.events import Busy
    from lthrun.experiments import load_config
    from lthrun.report.lists import image_table
    from lthrun.report.screen import Screen
    from lthrun.report.terminal import make_console, print_json, show_tables

    settings = load_config(source, None, sets, opt.by_key(KEYS, typed)).data
    with Screen(make_console(stderr=as_json), quiet) as screen:
        screen(Busy(f"finding the images ({settings.dataset})"))
        dataset = DATASETS[settings.dataset]
        try:
            images = dataset(settings)
        except MissingData:
            if not (is_download and dataset.download):
                raise
            with screen.paused():
                dataset.download.fetch()
            images = dataset(settings)
        # `info` is there to list what cannot be read
        store = open_store(images, settings.stored_size, settings.skip_unreadable or not is_download, screen)
    split = store.split(settings)
    description = store.describe(split)
    if not is_download:
        description["near_duplicates"] = find_near_duplicates(store, split)
    if as_json:
        print_json(description)
    elif not quiet:
        show_tables(make_console(), [image_table(description)])
