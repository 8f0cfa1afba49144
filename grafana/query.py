"""A query of Grafana's ClickHouse plugin, which the foundation SDK has no type for.

The fields are those of ``CHSqlQuery`` in the plugin's ``src/types/sql.ts``. ``format`` is how its backend shapes rows: 0 makes a
time series of them (one for each value of the text columns; rows must come in the order of time), 1 leaves them a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from urllib.parse import quote

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

from grafana import DATASOURCE_UID, PLUGIN, PLUGIN_VERSION

DATASOURCE = DataSourceRef(type_val=PLUGIN, uid=DATASOURCE_UID)
TIME_SERIES, TABLE = 0, 1


@dataclass(frozen=True)
class ClickHouseQuery(Dataquery):
    """One SQL statement, with the plugin's macros and Grafana's variables in it."""

    sql: str
    format: int = TABLE
    ref_id: str = "A"

    def to_json(self) -> dict[str, object]:
        """The target as Grafana keeps it."""
        return {
            "refId": self.ref_id,
            "datasource": DATASOURCE,
            "editorType": "sql",
            "queryType": "timeseries" if self.format == TIME_SERIES else "table",
            "format": self.format,
            "pluginVersion": PLUGIN_VERSION,
            "rawSql": self.sql,
        }


@dataclass(frozen=True)
class Ask(Builder[Dataquery]):
    """The builder that the SDK's panels and alert rules want."""

    query: ClickHouseQuery

    def build(self) -> Dataquery:
        """The query."""
        return self.query


def clean(sql: str) -> str:
    """SQL without the indentation of the Python around it."""
    return "\n".join(line.rstrip() for line in dedent(sql).strip().splitlines())


def table(sql: str, ref_id: str = "A") -> ClickHouseQuery:
    """Rows as they come."""
    return ClickHouseQuery(clean(sql), TABLE, ref_id)


def series(sql: str, ref_id: str = "A") -> ClickHouseQuery:
    """A time series: a column of times in ascending order, a number, and perhaps a text that names the line."""
    return ClickHouseQuery(clean(sql), TIME_SERIES, ref_id)


def explore(query: ClickHouseQuery) -> str:
    """The address of Grafana's Explore with this query in it, as a link of a panel.

    Grafana puts variables into links before a browser follows them, so that ``${...}`` stay as they are; everything else is
    encoded, macros too, which Explore expands itself.
    """
    pane = {
        "datasource": DATASOURCE_UID,
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = JSONEncoder(separators=(",", ":")).encode({"a": pane})
    parts = text.split("${")
    encoded = quote(parts[0], safe="")
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        encoded += "${" + name + "}" + quote(rest, safe="")
    return f"/explore?schemaVersion=1&panes={encoded}&orgId=1"
