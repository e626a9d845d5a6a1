"""Writes docs/terminal.svg: what `lthrun ticket --config smoke/rewind` prints, recorded from a real run."""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import lthrun
from lthrun.events import Event, ImagesFound
from lthrun.report.screen import Screen

COMMAND = "lthrun ticket --config smoke/rewind"
IMAGES = "~/.cache/lthrun/synthetic-1/images"  # instead of where they are on this machine


def record() -> str:
    console = Console(record=True, file=io.StringIO(), color_system="truecolor", highlight=False, width=104)
    console.print(f"$ {COMMAND}", style="bold")
    with tempfile.TemporaryDirectory() as folder, Screen(console) as screen:

        def emit(event: Event) -> None:
            screen(replace(event, folder=IMAGES) if isinstance(event, ImagesFound) else event)

        result = lthrun.run("smoke/rewind", folder, emit=emit)
        screen.show_result(result.summary.model_copy(update={"run_dir": f"runs/{result.run_dir.name}"}))
    svg = console.export_svg(title=COMMAND)
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # no fonts from the network


if __name__ == "__main__":
    (Path(__file__).parent / "terminal.svg").write_text(record(), "utf-8")
