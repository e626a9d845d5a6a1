"""Intervals, verdicts and what they rest on: numbers in, typed records out. No files, no console, no live model."""
