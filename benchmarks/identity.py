"""How well the rules of identity, staff, groups and the queue know what is true: over seeded scenes of rendered footage.

Each scene (``producers.simulator.footage``) goes through what a camera goes through from the boxes on: the true boxes, with a
detector's errors, into the product's tracker; tracks and rendered frames into its observations; those into its ``Shop``.
What comes out is held against what happened. Nothing of the truth reaches the rules.

A scene counts as exact when every ENTRY, REENTRY and EXIT is there, within ``IN_TIME_S`` of its moment, and no other. IDF1
(Ristani et al., 2016) is over people inside the shop of whom at least ``TO_BE_SEEN`` is in view, on all cameras together: a
person on two cameras must have one visitor id. A track has, from its first frame, the visitor id that it is given later, since
its events are dated back; ids that no event ever carried are provisional, and give way to the one that follows.

``python -m benchmarks.identity --scenes 300 --seed 10000``; ``--one SEED`` tells all about one scene.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import structlog

from benchmarks._report import report
from producers.cameras.observations import Observer
from producers.cameras.people import Tracker
from producers.cameras.scene import scene_of
from producers.cameras.shop import Shop
from producers.cameras.watch import PATIENCE_S
from producers.simulator.footage.detector import Detector, overlap
from producers.simulator.footage.pictures import Shot, shots
from producers.simulator.footage.scenes import KINDS, START_MS, Scene, scene
from producers.simulator.footage.truth import TrueEvent
from schemas.events import VisitEvent

IN_TIME_S = 2.0
TO_BE_SEEN = 0.3
SAME_BOX = 0.5
"""Intersection over union from which a tracked box is a true one, as MOTChallenge has it."""
AT_THE_DOOR = ("ENTRY", "REENTRY", "EXIT")
AT_THE_TILL = ("BILLING_QUEUE_JOIN", "BILLING_QUEUE_ABANDON")
Track = tuple[str, int]


@dataclass
class Score:
    """What of one scene was right."""

    seed: int
    kind: str
    frames: int = 0
    door_exact: bool = False
    queue_exact: bool = False
    idtp: int = 0
    idfp: int = 0
    idfn: int = 0
    staff: Counter[str] = field(default_factory=Counter)
    """found, false, missed"""
    entries: int = 0
    sizes_right: int = 0
    """Entries with the size of their group, and with a group_id that all of the group and nobody else has."""
    depth_errors: list[int] = field(default_factory=list)
    people: int = 0
    doubled: int = 0
    """Visitors in events who are somebody who has an id in events already."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """What one frame showed and what was made of it."""

    shot: Shot
    boxes: np.ndarray
    tracks: list[Track]
    labels: list[str | None]


def play(story: Scene) -> tuple[list[Seen], list[VisitEvent], dict[str, bool], Shop]:
    """One scene through tracker, observations and rules: its frames, its events, and who was taken for staff."""
    import supervision as sv

    lenses = {lens.camera_id: lens for lens in story.lenses}
    scenes = {name: scene_of(story.layout, name, lens.width, lens.height) for name, lens in lenses.items()}
    shop = Shop(story.layout, scenes, salt=b"benchmark")
    trackers = {name: Tracker(PATIENCE_S) for name in lenses}
    uniform = story.layout.staff.uniform if story.layout.staff else ()
    observers = {name: Observer(uniform) for name in lenses}
    detectors = {
        name: Detector((story.seed, number), lens.width, lens.height)
        for number, (name, lens) in enumerate(lenses.items())
    }
    seen: list[Seen] = []
    events: list[VisitEvent] = []
    staff: dict[str, bool] = defaultdict(bool)
    for shot in shots(story):
        boxes, sure = detectors[shot.camera_id].see(shot.seen)
        found = sv.Detections(
            xyxy=boxes.astype(np.float32), confidence=sure.astype(np.float32), class_id=np.zeros(len(boxes), int)
        )
        people = trackers[shot.camera_id].update(found, shot.at_ms)
        events += shop.see(shot.camera_id, shot.at_ms, observers[shot.camera_id].see(shot.image, people))
        labels = shop.view(shot.camera_id)
        for label in labels.values():
            if label.visitor_id is not None:
                staff[label.visitor_id] |= label.is_staff
        numbers = [int(track) for track in people.tracker_id] if len(people) else []
        seen.append(
            Seen(
                Shot(shot.camera_id, shot.at_ms, shot.number, shot.image[:0], shot.seen),
                np.asarray(people.xyxy, float).reshape(-1, 4),
                [(shot.camera_id, number) for number in numbers],
                [labels[number].visitor_id if number in labels else None for number in numbers],
            )
        )
    for name in lenses:
        events += shop.finish(name)
    for event in events:
        staff[event.visitor_id] |= event.is_staff
    return seen, events, staff, shop


def named(seen: Sequence[Seen], published: Set[str]) -> list[list[str]]:
    """The visitor of every box, as the shop knew it in the end.

    A track that has no visitor yet has the one it is given next. An id in no event was provisional: who was called so is who
    that track turned out to be.
    """
    later: dict[Track, str] = {}
    alias: dict[str, str] = {}
    rows: list[list[str]] = []
    for frame in reversed(seen):
        row = []
        for track, label in zip(frame.tracks, frame.labels, strict=True):
            if label is not None and track in later and label not in published and label != later[track]:
                alias.setdefault(label, later[track])
            elif label is not None:
                later[track] = label
            row.append(label or later.get(track, f"nobody {track}"))
        rows.append(row)
    return [_once([_end(alias, name) for name in row], frame) for frame, row in enumerate(reversed(rows))]


def _once(names: Sequence[str], frame: int) -> list[str]:
    """Nobody is in one frame twice: of two boxes with one name the second is a stranger of this frame alone."""
    return [name if name not in names[:i] else f"nobody {frame} {i}" for i, name in enumerate(names)]


def _end(alias: Mapping[str, str], name: str) -> str:
    met = {name}
    while (name := alias.get(name, name)) not in met:
        met.add(name)
    return name


def identify(seen: Sequence[Seen], published: Set[str], score: Score) -> dict[str, int]:
    """IDF1's parts into ``score``; and whom each visitor id mostly stood for."""
    import motmetrics

    book = motmetrics.MOTAccumulator(auto_id=True)
    numbers: dict[str, int] = {}
    whose: dict[str, Counter[int]] = defaultdict(Counter)
    held: dict[int, Counter[str]] = defaultdict(Counter)
    for frame, names in zip(seen, named(seen, published), strict=True):
        true = [box for box in frame.shot.seen if box.visible > 0.05]
        shared = overlap(np.array([box.box for box in true]).reshape(-1, 4), frame.boxes)
        counts = [box.inside and box.visible >= TO_BE_SEEN for box in true]
        # A box on somebody who need not be seen is neither right nor wrong.
        best = [
            int(shared[:, i].argmax()) if len(true) and shared[:, i].max() >= SAME_BOX else None
            for i in range(len(names))
        ]
        kept = [i for i, whom in enumerate(best) if whom is None or counts[whom]]
        for i, whom in enumerate(best):
            if whom is not None:
                whose[names[i]][true[whom].person] += 1
                if true[whom].inside:
                    held[true[whom].person][names[i]] += 1
        rows = [i for i, counted in enumerate(counts) if counted]
        distances = 1 - shared[np.ix_(rows, kept)]
        book.update(
            [true[i].person for i in rows],
            [numbers.setdefault(names[i], len(numbers)) for i in kept],
            np.where(distances <= 1 - SAME_BOX, distances, np.nan),
        )
    found = motmetrics.metrics.create().compute(book, metrics=["idtp", "idfp", "idfn"])
    score.idtp, score.idfp, score.idfn = (int(found[name].iloc[0]) for name in ("idtp", "idfp", "idfn"))
    score.people = len(held)
    # An id that somebody had for a few frames while two boxes crossed is no second visitor.
    belongs = {name: people.most_common(1)[0][0] for name, people in whose.items()}
    for person, names_held in held.items():
        own = [name for name in names_held if belongs[name] == person and name in published]
        score.doubled += max(0, len(own) - 1)
        if len(own) > 1:
            score.wrong.append(f"person {person} was {len(own)} visitors: {', '.join(_short(name) for name in own)}")
    return belongs


def paired(
    true: Sequence[TrueEvent], found: Sequence[VisitEvent]
) -> tuple[list[tuple[TrueEvent, VisitEvent]], list[Any]]:
    """Each true event with one found of its kind nearest in time, at most ``IN_TIME_S`` away; and what is left over."""
    near = sorted(
        (abs(event.at_s - _at_s(other)), i, j)
        for i, event in enumerate(true)
        for j, other in enumerate(found)
        if event.kind == other.event_type and abs(event.at_s - _at_s(other)) <= IN_TIME_S
    )
    left, right = set(range(len(true))), set(range(len(found)))
    pairs = []
    for _, i, j in near:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((true[i], found[j]))
    return pairs, [true[i] for i in sorted(left)] + [found[j] for j in sorted(right)]


def judge(story: Scene) -> Score:
    """One scene, played and held against the truth."""
    seen, events, staff, _ = play(story)
    return score_of(story, seen, events, staff)


def score_of(story: Scene, seen: Sequence[Seen], events: Sequence[VisitEvent], staff: dict[str, bool]) -> Score:
    score = Score(story.seed, story.kind, frames=len(seen))
    belongs = identify(seen, {event.visitor_id for event in events}, score)
    door, odd = paired(
        [event for event in story.events if event.kind in AT_THE_DOOR],
        [event for event in events if event.event_type in AT_THE_DOOR],
    )
    score.door_exact = not odd
    score.wrong += [_told(event) for event in odd]
    # Staff.
    flagged = {name for name, is_staff in staff.items() if is_staff}
    of_staff = {number for number, person in enumerate(story.people) if person.staff}
    caught = {belongs[name] for name in flagged if belongs.get(name) in of_staff}
    false = [name for name in flagged if belongs.get(name) not in of_staff]
    score.staff = Counter(found=len(caught), false=len(false), missed=len(of_staff - caught))
    score.wrong += [f"person {belongs.get(name)} was taken for staff" for name in false]
    score.wrong += [f"person {number} was not taken for staff" for number in sorted(of_staff - caught)]
    # Groups.
    arrivals = [(true, event) for true, event in door if true.kind == "ENTRY"]
    score.entries = sum(event.kind == "ENTRY" for event in story.events)
    members: dict[Any, set[int]] = defaultdict(set)
    for true, event in arrivals:
        if (number := _more(event, "group_id")) is not None:
            members[number].add(true.person)
    for true, event in arrivals:
        party = story.people[true.person].party
        own = (
            {n for n, person in enumerate(story.people) if person.party == party}
            if party is not None
            else {true.person}
        )
        size = _more(event, "group_size") or 1
        right = size == true.group_size and (members.get(_more(event, "group_id")) or {true.person}) == own
        score.sizes_right += right
        if not right:
            score.wrong.append(f"person {true.person}'s group had {true.group_size}, was told as {size}")
    # The queue.
    till, odd = paired(
        [event for event in story.events if event.kind in AT_THE_TILL],
        [event for event in events if event.event_type in AT_THE_TILL],
    )
    score.queue_exact = not odd
    score.wrong += [_told(event) for event in odd]
    for true, event in till:
        if event.metadata.queue_depth is None:
            score.wrong.append(f"no queue_depth at {true.at_s:.1f} s")
        else:
            score.depth_errors.append(abs(event.metadata.queue_depth - (true.queue_depth or 0)))
    return score


def _more(event: VisitEvent, name: str) -> Any:
    return (event.metadata.model_extra or {}).get(name, getattr(event.metadata, name, None))


def _at_s(event: VisitEvent) -> float:
    return event.timestamp.timestamp() - START_MS / 1000


def _short(name: str) -> str:
    return name if name.startswith("nobody") else name[:6]


def _told(event: TrueEvent | VisitEvent) -> str:
    if isinstance(event, TrueEvent):
        return f"missed: {event.kind} of person {event.person} at {event.at_s:.1f} s"
    return f"false: {event.event_type} of {_short(event.visitor_id)} on {event.camera_id} at {_at_s(event):.1f} s"


def share(part: float, whole: float) -> float | str:
    return part / whole if whole else "-"


def row(name: str, scores: Sequence[Score]) -> list[Any]:
    """One line of the table."""
    staff: Counter[str] = sum((score.staff for score in scores), Counter())
    found, false, missed = staff["found"], staff["false"], staff["missed"]
    ids = [sum(getattr(score, part) for score in scores) for part in ("idtp", "idfp", "idfn")]
    errors = [error for score in scores for error in score.depth_errors]
    return [
        name,
        len(scores),
        share(sum(score.door_exact for score in scores), len(scores)),
        share(2 * ids[0], 2 * ids[0] + ids[1] + ids[2]) if ids[0] + ids[2] else "-",
        share(found, found + false),
        share(found, found + missed),
        share(2 * found, 2 * found + false + missed),
        share(sum(score.sizes_right for score in scores), sum(score.entries for score in scores)),
        share(sum(score.queue_exact for score in scores), len(scores)),
        share(sum(errors), len(errors)),
        share(sum(score.doubled for score in scores), sum(score.people for score in scores)),
    ]


COLUMNS = (
    "scenes", "number", "door exact", "IDF1", "staff precision", "recall", "F1", "group right", "queue exact",
    "depth error", "doubled a person",
)  # fmt: skip


def quiet() -> None:
    """Decisions are logged one by one; here they are printed for one scene only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _one(job: tuple[int, str | None]) -> Score:
    return judge(scene(*job))


def scores_of(jobs: Sequence[tuple[int, str | None]], workers: int) -> Iterator[Score]:
    if workers == 1:
        yield from map(_one, jobs)
        return
    with get_context("spawn").Pool(workers, quiet) as pool:
        yield from pool.imap(_one, jobs)


def tell(seed: int, kind: str | None) -> None:
    """All about one scene."""
    story = scene(seed, kind)
    seen, events, staff, shop = play(story)
    score = score_of(story, seen, events, staff)
    print(f"{story.kind}, seed {seed}: {story.seconds:.0f} s at {story.fps}/s, {len(story.lenses)} camera(s)")
    lines = [(event.at_s, f"true   {event}") for event in story.events]
    for event in events:
        more = {
            "staff": event.is_staff or None,
            "depth": event.metadata.queue_depth,
            "group": _more(event, "group_size"),
        }
        extra = " ".join(f"{key}={value}" for key, value in more.items() if value is not None)
        where = f"{event.camera_id} {event.zone_id or ''}"
        lines.append((_at_s(event), f"found  {event.event_type} {_short(event.visitor_id)} {where} {extra}"))
    for at_s, line in sorted(lines):
        print(f"{at_s:7.2f}  {line}")
    for decision in shop.decisions:
        print("decision", decision)
    print("\n".join(score.wrong) or "all right")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=10_000, help="of the first scene")
    parser.add_argument("--kind", choices=list(KINDS), help="only scenes of this kind")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--one", type=int, metavar="SEED", help="tell all about one scene instead")
    options = parser.parse_args()
    quiet()
    if options.one is not None:
        tell(options.one, options.kind)
        return
    jobs = [(options.seed + number, options.kind) for number in range(options.scenes)]
    scores = []
    for score in scores_of(jobs, options.workers):
        scores.append(score)
        if score.wrong:
            print(f"{score.kind} --one {score.seed}: {'; '.join(score.wrong)}", file=sys.stderr, flush=True)
    rows = [row(kind, own) for kind in KINDS if (own := [score for score in scores if score.kind == kind])]
    report(
        "identity",
        ["motmetrics", "trackers", "supervision", "numpy"],
        COLUMNS,
        [*rows, row("all", scores)],
        command=" ".join(["python -m benchmarks.identity", *sys.argv[1:]]),
        frames=sum(score.frames for score in scores),
    )


if __name__ == "__main__":
    main()
