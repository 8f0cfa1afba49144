"""Who works here: by the uniform's colours over several looks, or by time spent where only staff go."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import StaffRules

# A verdict needs this share of the torso in the uniform's colours; shelves and arms in front hide about as much.
SCORE = 0.45
LOOKS = 5
# Somebody who passes through a door to the stockroom by mistake is out again sooner.
ZONE_S = 5.0
# Between this share of the threshold and the threshold, the verdict stays as it is.
HYSTERESIS = 0.7


@dataclass(slots=True)
class Staff:
    """What is known of one visitor."""

    score: float
    looks: int
    zone_ms: int
    verdict: bool = False
    mean: float = 0.0
    """Share of the torso in uniform colours over the last good looks, 0 to 1."""
    seen: int = 0
    _behind_ms: int = 0
    _proven: bool = False

    @classmethod
    def of(cls, rules: StaffRules | None) -> Staff:
        """By the layout's rules, with defaults for what they leave out."""
        rules = rules or StaffRules()
        return cls(
            SCORE if rules.score is None else rules.score,
            LOOKS if rules.looks is None else rules.looks,
            round(1000 * (ZONE_S if rules.zone_s is None else rules.zone_s)),
        )

    @property
    def sure(self) -> bool:
        """Whether more looks are not needed: enough of them, and the mean not near the threshold."""
        return self._proven or (self.seen >= self.looks and not self.score * HYSTERESIS <= self.mean < self.score)

    def see(self, uniform: float | None) -> None:
        """Take one look at the clothes; None when they cannot be told."""
        if uniform is None:
            return
        self.seen += 1
        # The mean of the first looks, then one that forgets: light differs over the shop.
        self.mean += (uniform - self.mean) / min(self.seen, 4 * self.looks)
        if self.seen >= self.looks:
            if self.mean >= self.score:
                self.verdict = True
            elif self.mean < self.score * HYSTERESIS:
                self.verdict = self._proven

    def stay(self, staff_only: bool, ms: int) -> None:
        """``ms`` more in a zone; in one where only staff go, they add up."""
        if staff_only:
            self._behind_ms += ms
            if self._behind_ms >= self.zone_ms:
                self.verdict = self._proven = True

    def join(self, other: Staff) -> None:
        """Take over what was seen of the same person on another track."""
        if total := self.seen + other.seen:
            self.mean = (self.mean * self.seen + other.mean * other.seen) / total
        self.seen = total
        self._behind_ms += other._behind_ms
        self._proven = self._proven or other._proven
        self.verdict = self._proven or (self.seen >= self.looks and self.mean >= self.score) or self.verdict
