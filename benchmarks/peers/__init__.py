"""The engines that ``benchmarks.throughput`` compares, one module each; ``python -m benchmarks.peers.NAME`` runs a worker.

What the job is stands in ``work``: the same rule functions as ours, and the same rows. What an engine adds is how records
arrive, where state survives a restart, and when rows are written; each module says which page of its engine's
documentation it follows and what was tuned. Ours is not here: it is ``aisleflow worker``, unchanged.
"""
