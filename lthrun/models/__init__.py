"""Models by name, and a user's own. Importing this package fills their table, and imports no torch."""

from lthrun.models import catalog
from lthrun.models.build import build_meta_model, build_model
from lthrun.models.table import MODELS, ModelEntry

__all__ = ["MODELS", "ModelEntry", "build_meta_model", "build_model", "catalog"]
