"""The camera's rules by tables: one character is one look, 100 ms apart; no video."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras import Entrance
from producers.cameras.presence import Presence, Sighting
from schemas.events import VisitEvent

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
STEP_MS = 100
# A look: zone and side of the line. Capitals and "." are on the inner side, "a" and "," on the outer, "|" beyond its
# ends.
LOOKS = {
    "A": ("A", True),
    "B": ("B", True),
    ".": (None, True),
    "a": ("A", False),
    ",": (None, False),
    "|": (None, None),
}


def run(
    *tracks: str, entrance: Entrance = Entrance.NONE, step_ms: int = STEP_MS, start: datetime = START, store: str = "S"
) -> list[VisitEvent]:
    """Each string is one track's looks; a space is a look without it."""
    presence = Presence(store, "C", start, entrance=entrance, inertia=3, lost_after_ms=10 * STEP_MS)
    events: list[VisitEvent] = []
    for look in range(max(map(len, tracks))):
        seen = [
            Sighting(number, *LOOKS[track[look]], confidence=0.5)
            for number, track in enumerate(tracks)
            if look < len(track) and track[look] != " "
        ]
        events += presence.see(look * step_ms, seen)
    return events + presence.finish()


def brief(events: Iterable[VisitEvent], step_ms: int = STEP_MS) -> str:
    """ "ENTER A@2, EXIT A@7/5": type, zone, look and, where it has one, dwell in looks."""
    return ", ".join(
        f"{event.event_type.removeprefix('ZONE_') if event.zone_id else event.event_type}"
        f"{' ' + event.zone_id if event.zone_id else ''}"
        f"@{(event.timestamp - START) // timedelta(milliseconds=step_ms)}"
        f"{'/' + str(event.dwell_ms // step_ms) if event.dwell_ms else ''}"
        for event in events
    )


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("..AAAAA...", "ENTER A@2, EXIT A@7/5"),
        ("....", ""),
        # Inertia: two looks are a flicker, three are a change, dated to the first of them.
        ("..AA....", ""),
        ("..AAA..A..AA..", "ENTER A@2, EXIT A@12/10"),
        ("..AA.AA.AA.", ""),
        ("AAAA..AAAA", "ENTER A@0, EXIT A@9/9"),
        # From zone to zone, with and without steps between; a dithering edge does not end the first.
        ("AAAABBBB", "ENTER A@0, EXIT A@4/4, ENTER B@4, EXIT B@7/3"),
        ("AAAA...BBB", "ENTER A@0, EXIT A@4/4, ENTER B@7, EXIT B@9/2"),
        ("AAABABABAAA", "ENTER A@0, EXIT A@10/10"),
        # An occlusion of up to ten looks changes nothing; a longer one is a departure at the last look.
        ("AAAA" + " " * 9 + "AAAA", "ENTER A@0, EXIT A@16/16"),
        ("AAAA" + " " * 10 + "A", "ENTER A@0, EXIT A@3/3"),
        ("AAAA.." + " " * 11, "ENTER A@0, EXIT A@4/4"),
        ("AA" + " " * 9 + "AA", "ENTER A@0, EXIT A@12/12"),
        # The same zone twice.
        ("AAA...AAA...", "ENTER A@0, EXIT A@3/3, ENTER A@6, EXIT A@9/3"),
    ],
)
def test_zones(looks: str, expected: str) -> None:
    assert brief(run(looks)) == expected


@pytest.mark.parametrize(
    ("seconds", "dwells"),
    [(29, []), (30, [30]), (59, [30]), (60, [30, 60]), (95, [30, 60, 90])],
)
def test_dwell_comes_every_thirty_seconds(seconds: int, dwells: list[int]) -> None:
    events = run("A" * (2 * seconds + 1), step_ms=500)
    assert [event.dwell_ms // 1000 for event in events if event.event_type == "ZONE_DWELL"] == dwells
    assert all(event.timestamp == START + timedelta(milliseconds=event.dwell_ms) for event in events[1:])
    assert (events[-1].event_type, events[-1].dwell_ms) == ("ZONE_EXIT", seconds * 1000)


def test_a_dwell_missed_behind_an_occlusion_comes_once_and_keeps_the_thirty_second_beat() -> None:
    """At 5 s a look: hidden from 30 to 70 s, so the mark of 30 and that of 60 are both passed unseen."""
    presence = Presence("S", "C", START, entrance=Entrance.NONE, inertia=2, lost_after_ms=60_000)
    events = [
        event
        for at in [*range(0, 30_000, 5000), *range(70_000, 125_000, 5000)]
        for event in presence.see(at, [Sighting(1, "A")])
    ]
    assert [event.dwell_ms for event in events if event.event_type == "ZONE_DWELL"] == [70_000, 90_000, 120_000]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (",,,...", "ENTRY@3"),
        ("...,,,", "EXIT@3"),
        (",.....", "ENTRY@1"),
        (",,,..", ""),
        (".....", ""),
        (",,,,,", ""),
        # Dithering on the line counts nothing; walking in and out again counts each once.
        (",.,.,.,.,", ""),
        (",,,...,,,...,,,...", "ENTRY@3, EXIT@6"),
        # Somebody who had left comes back.
        ("...,,,...", "EXIT@3, REENTRY@6"),
        # Beyond the line's ends there is no side; hidden on the doorstep, the side is remembered.
        (",,,|||...", "ENTRY@6"),
        (",,," + " " * 8 + "...", "ENTRY@11"),
        (",,,.|..|.", ""),
        # EXIT ends the zone visit at once; the zone beyond the line is entered anew.
        ("AAAA,,,", "ENTER A@0, EXIT A@4/4, EXIT@4"),
        ("AAAAaaa", "ENTER A@0, EXIT A@4/4, EXIT@4"),
        ("AAAA.,,,", "ENTER A@0, EXIT A@4/4, EXIT@5"),
        (",,,AAAA", "ENTRY@3, ENTER A@3, EXIT A@6/3"),
    ],
)
def test_the_entrance_line(looks: str, expected: str) -> None:
    assert brief(run(looks, entrance=Entrance.LINE)) == expected


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("...", "ENTRY@0"),
        ("..", ""),
        (".. ..", "ENTRY@0"),
        ("...." + " " * 11, "ENTRY@0, EXIT@3"),
        (".." + " " * 11, ""),
        ("AAAA" + " " * 11, "ENTRY@0, ENTER A@0, EXIT A@3/3, EXIT@3"),
        # The clip's end is nobody's departure, but the zone visit has to end somewhere.
        ("AAAA", "ENTRY@0, ENTER A@0, EXIT A@3/3"),
    ],
)
def test_appearing_in_the_frame(looks: str, expected: str) -> None:
    assert brief(run(looks, entrance=Entrance.FRAME)) == expected


def test_people_do_not_mix() -> None:
    events = run("AAAA....", "..AAAA..", entrance=Entrance.FRAME)
    visitors = {event.visitor_id for event in events}
    assert len(visitors) == 2
    assert sorted(brief(e for e in events if e.visitor_id == visitor) for visitor in visitors) == [
        "ENTRY@0, ENTER A@0, EXIT A@4/4",
        "ENTRY@0, ENTER A@2, EXIT A@6/4",
    ]


def test_ids_repeat_for_the_same_clip_and_for_no_other() -> None:
    first, again = run("AAA...AAA"), run("AAA...AAA")
    assert [event.event_id for event in first] == [event.event_id for event in again]
    assert first == again
    for other in (
        run("AAA...AAA", start=START + timedelta(milliseconds=1)),
        run("AAA...AAA", store="S2"),
        run(" " * 9, "AAA...AAA"),
    ):
        assert not {e.event_id for e in first} & {e.event_id for e in other}
        assert not {e.visitor_id for e in first} & {e.visitor_id for e in other}


def test_people_who_left_are_forgotten() -> None:
    presence = Presence("S", "C", START, entrance=Entrance.FRAME, inertia=3, lost_after_ms=1000)
    for number in range(5000):
        presence.see(number * 1000, [Sighting(number, "A")])
        assert len(presence._tracks) <= 2


@given(
    st.lists(st.text(alphabet=" ABa.,|", min_size=1, max_size=60), min_size=1, max_size=3), st.sampled_from(Entrance)
)
def test_whatever_is_seen_visits_are_whole(tracks: list[str], entrance: Entrance) -> None:
    events = run(*tracks, entrance=entrance)
    assert len({event.event_id for event in events}) == len(events)
    for visitor in {event.visitor_id for event in events}:
        of = [event for event in events if event.visitor_id == visitor]
        assert [event.metadata.session_seq for event in of] == list(range(len(of)))
        kinds = [event.event_type for event in of]
        assert kinds.count("ENTRY") + kinds.count("REENTRY") <= 1
        assert kinds.count("EXIT") <= 1
        inside: VisitEvent | None = None
        for event in sorted(of, key=lambda e: (e.timestamp, e.metadata.session_seq)):
            if event.event_type == "ZONE_ENTER":
                assert inside is None
                inside = event
            elif event.event_type == "ZONE_EXIT":
                assert inside is not None and inside.zone_id == event.zone_id
                assert event.timestamp - inside.timestamp == timedelta(milliseconds=event.dwell_ms)
                inside = None
            elif event.event_type == "EXIT":
                assert inside is None
        assert inside is None
