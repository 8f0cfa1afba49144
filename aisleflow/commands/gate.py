"""``aisleflow gate``."""


def gate() -> None:
    """Pass on what shops' own producers wrote, if it is about their shop; anything else becomes a dead letter."""
    from aisleflow.settings import settings
    from stream_processors import gate

    gate.run(settings())
