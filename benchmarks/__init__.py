"""Measures firexlite against what is there without it: `python -m benchmarks`, or `./dev bench`."""
