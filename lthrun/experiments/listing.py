"""What `lthrun list` shows: every name that a config key or an option can choose."""

from __future__ import annotations

from lthrun.registry import TABLES

N_OF_M = {"n:m": "Of every m weights along the input channels n are kept, e.g. 2:4 (Mishra et al. 2021)."}
HIDDEN = {"experiments", "figures"}  # no config key or option chooses from these
LISTED: dict[str, tuple[str, dict[str, str]]] = {
    name: (table.key, {entry: table[entry].about for entry in table} | (N_OF_M if name == "granularities" else {}))
    for name, table in sorted(TABLES.items(), key=lambda item: item[1].key)  # whatever was imported first
    if name not in HIDDEN
}
