"""The images of an experiment: which there are, decoded once into a store, split, and batched on the device.

Importing this package fills the tables of data sets and augmentations, and imports no torch.
"""

from lthrun.data import folder, pets, synthetic, torchvision_sets  # noqa: F401
from lthrun.data.augmentation import AUGMENTATIONS
from lthrun.data.datasets import DATASETS, DatasetEntry, Download, Images

__all__ = ["AUGMENTATIONS", "DATASETS", "DatasetEntry", "Download", "Images"]
