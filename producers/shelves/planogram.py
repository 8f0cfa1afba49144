"""What should stand where: a planogram, and which SKU each facing and each empty place of a bay is by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from producers.shelves import ShelfError
from schemas.events import Name, as_problem

# To leave a product and a facing of the planogram unmatched is as bad as to match them a facing and a half apart.
SKIP = 0.75


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Position(_Part):
    """A SKU's place in a row."""

    sku: Name
    facings: Annotated[int, Field(ge=1, le=500)] = Field(1, description="Side by side; stacked ones count once.")
    width_cm: Annotated[float, Field(gt=0, le=1000)] | None = Field(None, description="Of one facing.")


class PlanogramRow(_Part):
    """A board, its positions from left to right."""

    positions: Annotated[list[Position], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _all_widths_or_none(self) -> PlanogramRow:
        if len({position.width_cm is None for position in self.positions}) > 1:
            raise ValueError("give width_cm for all positions of a row, or for none")
        return self

    def slots(self) -> list[tuple[str, float]]:
        """SKU and middle, as a share of the row's width, of every facing."""
        skus = [position.sku for position in self.positions for _ in range(position.facings)]
        widths = np.array([position.width_cm or 1.0 for position in self.positions for _ in range(position.facings)])
        middles = (np.cumsum(widths) - widths / 2) / widths.sum()
        return list(zip(skus, middles.tolist(), strict=True))


class Planogram(_Part):
    """What one bay should hold, from the top board to the bottom one."""

    planogram_id: Name
    bay: Annotated[int, Field(ge=1, le=500)] | None = Field(
        None, description="Which bay of the photo it is, from the left, from 1; the widest if left out."
    )
    rows: Annotated[list[PlanogramRow], Field(min_length=1, max_length=100)]


def read_planogram(path: Path) -> Planogram:
    """The planogram in a JSON file.

    Raises:
        ShelfError: there is no such file, or it holds no valid planogram.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ShelfError(f"the planogram {path} cannot be read: {error.strerror}") from error
    return parse_planogram(content, f"the planogram {path}")


def parse_planogram(content: bytes | str, name: str = "the planogram") -> Planogram:
    """The planogram in a JSON document.

    Raises:
        ShelfError: it holds no valid planogram.
    """
    try:
        return Planogram.model_validate_json(content)
    except ValidationError as error:
        field, reason = as_problem(error)
        raise ShelfError(f"{name} is not valid: {field or 'document'}: {reason}") from error


def match(slots: Sequence[tuple[str, float]], seen: Sequence[tuple[float, float]]) -> list[str | None]:
    """The SKU of every facing and empty place that a row shows, in order; None where the planogram has nothing there.

    Both are put on one scale, from the first one's left side to the last one's right side, and matched in order so that the sum of
    distances is least (Needleman and Wunsch, 1970): distances in mean facings, and ``SKIP`` for each that stays alone.

    Args:
        slots: As ``PlanogramRow.slots`` gives them.
        seen: Left and right end of each, from left to right, any unit.
    """
    if not seen:
        return []
    left, right = min(one for one, _ in seen), max(other for _, other in seen)
    middles = (np.array(seen).mean(axis=1) - left) / max(right - left, 1e-9)
    apart = np.abs(middles[:, None] - np.array([at for _, at in slots])[None, :]) * len(slots)
    rows, columns = apart.shape
    cost = np.zeros((rows + 1, columns + 1))
    cost[:, 0], cost[0, :] = SKIP * np.arange(rows + 1), SKIP * np.arange(columns + 1)
    for i in range(rows):
        for j in range(columns):
            cost[i + 1, j + 1] = min(cost[i, j] + apart[i, j], cost[i, j + 1] + SKIP, cost[i + 1, j] + SKIP)
    found: list[str | None] = [None] * rows
    i, j = rows, columns
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + apart[i - 1, j - 1]:
            i, j = i - 1, j - 1
            found[i] = slots[j][0]
        elif cost[i, j] == cost[i - 1, j] + SKIP:
            i -= 1
        else:
            j -= 1
    return found
