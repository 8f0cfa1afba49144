"""Drawing needs the vision extra, as cameras do."""

from tests.producers.cameras.conftest import vision as vision
