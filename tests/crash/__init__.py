"""The crash lab: everything that can go wrong is made to, at every moment, and the outcome compared with an undisturbed run.

A quick set runs with the tests; `./dev crash` runs all of it and prints one table.
"""
