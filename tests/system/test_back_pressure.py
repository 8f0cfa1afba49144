"""A producer as fast as it can be on a ClickHouse ten times too slow: memory stays bounded, the wall says that it is behind,
nothing is lost. ``make back-pressure MINUTES=5`` runs the long one.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from aisleflow.settings import Settings
from schemas.topics import STORE_LAYOUTS
from tests.conftest import CHROMIUM
from tests.system.back_pressure import (
    TOO_MUCH,
    Firehose,
    Template,
    open_wall,
    press,
    stand,
    stored_once,
    wrong_copies,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
COPIES = 10


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")
def test_memory_is_bounded_the_wall_says_so_and_nothing_is_lost(world: Settings, tmp_path: Path) -> None:
    template = Template(shops=4, last=date(2026, 3, 2), copies=COPIES)
    with stand(world, tmp_path) as parts, open_wall(parts.api_url) as page:
        hose = Firehose(world)
        hose.send((STORE_LAYOUTS.name, store_id, layout) for store_id, layout in template.layouts())
        hose.send(template.copy(0))
        hose.flush()
        parts.caught_up(120)
        page.wait_for_selector(".state.live", timeout=30_000)
        found = press(parts, template, 1, page, seconds=15, per_second=0, factor=TOO_MUCH)
        assert found.copies == range(1, COPIES)
        seen = found.watcher
        assert seen.most_records > 0.5 * found.sent, "it was behind"
        assert seen.most_mib["worker"] < found.worker_bound_mib
        assert seen.failures == 0
        assert any(
            re.search(r"Behind by \d+\u2009(s|min), [\d,]+ events, since \d\d:\d\d UTC: ", words)
            for words in found.wall_said
        )
        assert any("behind by" in words for words in seen.details), "/health says so too"
        page.wait_for_selector(".state.live", timeout=30_000)
        assert page.locator(".banner").count() == 0
        assert stored_once(world, template, COPIES) == []
        assert wrong_copies(template, range(COPIES), parts.api_url) == []
