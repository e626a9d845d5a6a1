"""The only package that writes: atomic files, locks, levels, run directories, cleaning."""
