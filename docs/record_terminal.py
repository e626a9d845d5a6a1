"""Writes docs/terminal.svg: what `lthrun ticket --config smoke/rewind` prints, recorded from a real run."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console

import lthrun
from lthrun.report.screen import Screen

COMMAND = "lthrun ticket --config smoke/rewind"

if __name__ == "__main__":
    console = Console(record=True, file=io.StringIO(), color_system="truecolor", highlight=False, width=104)
    console.print(f"$ {COMMAND}", style="bold")
    with tempfile.TemporaryDirectory() as folder, Screen(console) as screen:
        result = lthrun.run("smoke/rewind", folder, emit=screen)
        screen.show_result(result.summary.model_copy(update={"run_dir": f"runs/{result.run_dir.name}"}))
    svg = console.export_svg(title=COMMAND)
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # no fonts from the network
    (Path(__file__).parent / "terminal.svg").write_text(svg, "utf-8")
