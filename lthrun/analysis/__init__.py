"""Intervals, the verdict and what it rests on: numbers in, numbers out."""
