"""Other systems: what pulls their records onto Kafka, and what pushes ours to them.

A pull (``pulling.py``) takes batches of a source, a drop folder of CSV files (``csv_folder.py``) or a REST API (``rest.py``), and keeps
its cursor only when Kafka has confirmed them. A push (``outbox.py``) takes records off Kafka and commits them only when the target,
a REST API or a webhook (``webhooks.py``), has them, or the dead letters do.
"""
