"""Alert rules, whom they tell, and the playlist of the wall.

In alert rules only ``$__timeFilter`` works: no browser puts in variables, and no other macro is sure to. Each query gives one row
for each alert that may fire: texts, which become its labels, and one number, which the threshold judges. No row is no data, and each
rule says what that means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grafana import DATASOURCE_UID, sql
from grafana.query import table

GROUP = "Aisleflow"
INTERVAL_S = 30
RECEIVER = "aisleflow"
#: The variables from which receivers come; no address stands in a file.
EMAIL, WEBHOOK = "AISLEFLOW_ALERT_EMAIL", "AISLEFLOW_ALERT_WEBHOOK"
DAY_S = 86_400

PLAYLIST = "Aisleflow"
PLAYLIST_INTERVAL = "1m"
PLAYLIST_DASHBOARDS = ("aisleflow-wall", "aisleflow-queues", "aisleflow-anomalies", "aisleflow-pipeline")

NoData = Literal["OK", "Alerting"]
OnError = Literal["KeepLast", "Error"]


@dataclass(frozen=True)
class Rule:
    """One alert rule."""

    uid: str
    title: str
    sql: str
    #: It fires while the number is above this.
    above: float
    #: For so long.
    lasting: str
    #: Seconds that the query looks back.
    window_s: int
    severity: Literal["critical", "warning"]
    summary: str
    what_to_do: str
    dashboard: str
    panel: int
    no_data: NoData
    no_data_reason: str
    on_error: OnError = "KeepLast"

    @property
    def queries(self) -> list[dict[str, Any]]:
        """The query A and the threshold B over it, the rule's condition."""
        threshold = {
            "refId": "B",
            "type": "threshold",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "expression": "A",
            "conditions": [
                {
                    "type": "query",
                    "evaluator": {"type": "gt", "params": [self.above]},
                    "operator": {"type": "and"},
                    "query": {"params": ["B"]},
                    "reducer": {"type": "last", "params": []},
                }
            ],
        }
        return [
            _query("A", DATASOURCE_UID, self.window_s, table(self.sql).to_json()),
            _query("B", "__expr__", 0, threshold),
        ]

    @property
    def annotations(self) -> dict[str, str]:
        """What the message says, and which panel it links to."""
        return {
            "summary": self.summary,
            "description": self.what_to_do,
            "link": self.link,
            "no_data": f"Without data: {self.no_data}. {self.no_data_reason}",
            "__dashboardUid__": self.dashboard,
            "__panelId__": str(self.panel),
        }

    @property
    def link(self) -> str:
        """Where to look, of the shop at hand if the alert is of one."""
        return f"{{{{ externalURL }}}}/d/{self.dashboard}/{{{{ with $labels.store_id }}}}?var-store={{{{ . }}}}{{{{ end }}}}"

    @property
    def labels(self) -> dict[str, str]:
        """What routes the alert."""
        return {"source": "aisleflow", "severity": self.severity}


def _query(ref_id: str, datasource: str, window_s: int, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "datasourceUid": datasource,
        "relativeTimeRange": {"from": window_s, "to": 0},
        "model": {**model, "intervalMs": 1000, "maxDataPoints": 43200},
    }


def _open(kind: str, value: str, *, of: str = "") -> str:
    """Shops with an anomaly of a kind open that nobody has acknowledged, with a number for each."""
    return f"""
    WITH names AS ({sql.NAMES})
    SELECT store_id, if(shop = '', store_id, shop) AS shop{", " + of if of else ""}, {value} AS value
    FROM (
        SELECT store_id, subject, value, detected_at
        FROM anomalies FINAL
        WHERE type = '{kind}' AND closed_at IS NULL AND calm_since IS NULL AND $__timeFilter(detected_at)
            AND (store_id, anomaly_id) NOT IN (SELECT store_id, anomaly_id FROM ({sql.SEEN}))
    ) AS found
    LEFT JOIN names USING (store_id)
    ORDER BY {"store_id, " + of if of else "store_id"}
    """


_VALUE = '{{ with $values.A }}{{ printf "%.0f" .Value }}{{ end }}'

RULES = (
    Rule(
        uid="aisleflow-queue-spike",
        title="Queue spike",
        sql=_open("QUEUE_SPIKE", "toFloat64(found.value)"),
        above=5,
        lasting="1m",
        window_s=DAY_S,
        severity="critical",
        summary=f"{{{{ $labels.shop }}}}: {_VALUE} people wait to pay",
        what_to_do="Open another till. The shop's day shows since when, and how deep the queue usually is at this hour.",
        dashboard="aisleflow-shop",
        panel=4,
        no_data="OK",
        no_data_reason="No shop has a queue spike open.",
    ),
    Rule(
        uid="aisleflow-stale-feed",
        title="Stale feed",
        sql=_open("STALE_FEED", "toFloat64(greatest(dateDiff('minute', detected_at, now()), 10))"),
        above=9,
        lasting="0s",
        window_s=DAY_S,
        severity="warning",
        summary="{{ $labels.shop }} has sent nothing for more than 10 minutes within opening hours",
        what_to_do="Look at the shop's network, cameras and tills. If all shops are silent, look at Pipeline health first.",
        dashboard="aisleflow-cameras",
        panel=3,
        no_data="OK",
        no_data_reason="No shop is silent. Workers judge it: when none runs, the rule on worker lag says so.",
    ),
    Rule(
        uid="aisleflow-camera-down",
        title="Camera down",
        sql=_open("CAMERA_DOWN", "toFloat64(greatest(dateDiff('minute', detected_at, now()), 1))", of="subject"),
        above=4,
        lasting="0s",
        window_s=DAY_S,
        severity="warning",
        summary="{{ $labels.shop }}: camera {{ $labels.subject }} is down",
        what_to_do="Check its power, its network and its lens. Figures of its zones are too low until it is back.",
        dashboard="aisleflow-cameras",
        panel=2,
        no_data="OK",
        no_data_reason="No camera is down.",
    ),
    Rule(
        uid="aisleflow-dead-letters",
        title="Dead letters grow",
        sql="""
        SELECT topic, toFloat64(count()) AS value
        FROM dead_letters FINAL
        WHERE $__timeFilter(at)
        GROUP BY topic
        ORDER BY topic
        """,
        above=10,
        lasting="0s",
        window_s=900,
        severity="warning",
        summary=f"{_VALUE} records of {{{{ $labels.topic }}}} could not be read within 15 minutes",
        what_to_do="See which field is at fault and which shop sends it, mend the sender, then `aisleflow dead-letters replay TOPIC`.",
        dashboard="aisleflow-pipeline",
        panel=9,
        no_data="OK",
        no_data_reason="No record was refused.",
    ),
    Rule(
        uid="aisleflow-worker-lag",
        title="Workers behind, or none",
        sql=f"""
        SELECT read AS topic, toFloat64(max(behind)) AS value
        FROM (
            SELECT
                {sql.READ_FOR} AS read,
                partition,
                dateDiff('second', max(at), now()) AS silent,
                intDiv(argMax(behind_ms, at), 1000) + if(silent > 30, silent, 0) AS behind
            FROM topic_lag FINAL
            WHERE $__timeFilter(at)
            GROUP BY read, partition
        )
        GROUP BY read
        ORDER BY read
        """,
        above=60,
        lasting="2m",
        window_s=600,
        severity="critical",
        summary=f"{{{{ $labels.topic }}}}: the oldest record that waits is {_VALUE} s old, or no worker runs",
        what_to_do="Look whether workers run and what they log; docs/runbook.md has the messages. More workers share the partitions.",
        dashboard="aisleflow-pipeline",
        panel=2,
        no_data="Alerting",
        no_data_reason="Workers write every 10 seconds: without rows for 10 minutes none runs, and every figure stands still.",
        # One rule tells that ClickHouse does not answer; five would say the same at once.
        on_error="Error",
    ),
)


def rule_as_file(rule: Rule) -> dict[str, Any]:
    """A rule in the form of provisioning files (``AlertRuleV1`` in Grafana's pkg/services/provisioning/alerting)."""
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "B",
        "data": rule.queries,
        "dashboardUid": rule.dashboard,
        "panelId": rule.panel,
        "noDataState": rule.no_data,
        "execErrState": rule.on_error,
        "for": rule.lasting,
        "annotations": rule.annotations,
        "labels": rule.labels,
        "isPaused": False,
    }


def rule_as_api(rule: Rule, folder_uid: str) -> dict[str, Any]:
    """A rule in the form of Grafana's HTTP API, which differs from that of files."""
    return {
        "uid": rule.uid,
        "title": rule.title,
        "orgID": 1,
        "folderUID": folder_uid,
        "ruleGroup": GROUP,
        "condition": "B",
        "data": [{"queryType": "", **query} for query in rule.queries],
        "noDataState": rule.no_data,
        "execErrState": rule.on_error,
        "for": rule.lasting,
        "annotations": rule.annotations,
        "labels": rule.labels,
        "isPaused": False,
    }


MESSAGE = (
    "{{ range .Alerts }}{{ .Labels.alertname }}: {{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    "{{ .Annotations.link }}\n{{ end }}"
)


def email(addresses: str) -> dict[str, Any]:
    """Somebody told by e-mail."""
    return {
        "uid": "aisleflow-email",
        "type": "email",
        "settings": {"addresses": addresses, "singleEmail": True, "message": MESSAGE},
    }


def webhook(url: str) -> dict[str, Any]:
    """A program told by POST."""
    return {
        "uid": "aisleflow-webhook",
        "type": "webhook",
        "settings": {"url": url, "httpMethod": "POST", "maxAlerts": "50"},
    }


def route() -> dict[str, Any]:
    """How alerts are put together: one message a kind and shop, the critical ones repeated each hour until they end."""
    return {
        "receiver": RECEIVER,
        "group_by": ["alertname", "store_id"],
        "group_wait": "30s",
        "group_interval": "2m",
        "repeat_interval": "4h",
        "routes": [{"receiver": RECEIVER, "object_matchers": [["severity", "=", "critical"]], "repeat_interval": "1h"}],
    }
