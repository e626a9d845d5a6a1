"""The tests share the machine: their OpenMP threads spin briefly, which is set before any test module imports torch."""

from lthrun.training.openmp import limit_spinning

limit_spinning()
