"""The version, for code that must not import the rest of the package."""

__version__ = "0.2.0"
