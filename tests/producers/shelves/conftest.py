"""The vision extra and the real material, as cameras' tests have them."""

from tests.producers.cameras.conftest import material, vision

__all__ = ["material", "vision"]
