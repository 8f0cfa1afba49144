"""Records of older versions of an event, brought to the present version one step at a time.

Nearly every change is growth that ``schemas.compatibility`` allows, and needs nothing of this: an old record is a valid new
one. A change of meaning that cannot be said so gets a version: senders of the new form say ``schema_version``, and a step
here makes a record of the version before into one of it. Without the field, a record is of version 1.

To make version N of an event: add the step from N - 1 to its upcaster, require ``schema_version: Literal[N]`` in its fact
in ``schemas.reading``, and keep the examples of every version. All events are of version 1 today. The second camera dialect
is brought forward by a translator of its own (``schemas.dialects``), since it is another language and not an older one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VERSION_FIELD = "schema_version"

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""From a record of one version to one of the next; must not change what it is given."""


class VersionError(ValueError):
    """The record's version is none that this program reads; the message is for the person who sent it."""


@dataclass(frozen=True)
class Upcaster:
    """The way of one event's records to the present. ``steps[0]`` leads from version 1 to version 2, and so on."""

    steps: tuple[Step, ...] = ()

    @property
    def present(self) -> int:
        """The version that is read and derived from."""
        return len(self.steps) + 1

    def upcast(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record as the present version says it; the very same object if it is of that version.

        Raises:
            VersionError: the version is no number, or newer than this program.
        """
        version = record.get(VERSION_FIELD, 1)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise VersionError("must be a whole number from 1 on")
        if version > self.present:
            raise VersionError(
                f"is {version}, and this program reads versions up to {self.present}: upgrade it, and replay this record"
            )
        if version == self.present:
            return record
        for step in self.steps[version - 1 :]:
            record = step(record)
        return {**record, VERSION_FIELD: self.present}


UPCASTERS = {
    name: Upcaster()
    for name in (
        *("VisitEvent", "Transaction", "StoreLayout", "CameraHealth", "StockMovement", "ShelfScan", "Acknowledgement"),
        *("DemandForecast", "Product", "Question", "Order", "StockOutlook", "Price", "Delivery"),
        *("ForecastAccuracy",),
    )
}
"""By the name of the event."""
