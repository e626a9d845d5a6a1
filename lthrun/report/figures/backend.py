"""Import matplotlib without the backend of the user's environment.

Figures are written to files, so they need no backend. A notebook sets MPLBACKEND for every process it starts, and
matplotlib refuses to be imported where that backend is not installed.
"""

from __future__ import annotations

import os

_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
