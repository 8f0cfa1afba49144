"""The fault harness: real parts, faults from a seed, and a checker that computes everything a second time."""
