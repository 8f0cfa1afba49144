"""``python -m aisleflow``: the command line, however it was installed."""

from aisleflow.cli import app

app()
