"""Benchmarks: each is one command that prints the machine, the versions and a table, and keeps its figures in ``results/``."""
