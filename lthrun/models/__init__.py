"""Models by name. Importing this package fills their table, and imports no torch."""

from lthrun.models import catalog
from lthrun.models.table import MODELS, ModelEntry, build_model

__all__ = ["MODELS", "ModelEntry", "build_model", "catalog"]
