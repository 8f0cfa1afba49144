"""What only some machines have: the vision extra and the real clips."""

import os
from pathlib import Path

import pytest

from producers.cameras import CameraError
from producers.cameras.people import require_vision

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "vision"


def _absent(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def vision() -> None:
    """Skips without the vision extra; in CI that is a failure."""
    try:
        require_vision()
    except CameraError as error:
        _absent(str(error))


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder of clips and models; skips where it is absent, and fails in CI."""
    if not DATA.is_dir():
        _absent(f"no real material at {DATA}")
    return DATA
