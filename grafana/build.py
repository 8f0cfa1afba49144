"""The files that are made from this package: dashboards as JSON, and what provisions them into a Grafana that starts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from grafana import DATASOURCE_UID, FOLDER, FOLDER_UID, PLUGIN, alerts

HERE = Path(__file__).parent
#: Where docker-compose.yml mounts the dashboards.
MOUNTED_AT = "/etc/grafana/dashboards"
MADE_BY = "Made by `aisleflow grafana build` from the Python in grafana/: change that, not this."


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by its uid, as Grafana's JSON, the wall first."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    from grafana import anomalies, cameras, forecasts, funnel, pipeline, queues, shop, stock, wall, zones

    made = [
        wall.wall(),
        shop.shop(),
        funnel.funnel(),
        queues.queues(),
        zones.zones(),
        cameras.cameras(),
        stock.stock(),
        forecasts.forecasts(),
        anomalies.anomalies(),
        pipeline.pipeline(),
    ]
    return {str(board.uid): json.loads(JSONEncoder().encode(board)) for board in made}


def datasource(host: str, port: int, database: str, *, secure: bool = False) -> dict[str, Any]:
    """The data source, without its password: Grafana reads as the analyst, who cannot write."""
    return {
        "name": "Aisleflow",
        "uid": DATASOURCE_UID,
        "type": PLUGIN,
        "access": "proxy",
        "jsonData": {
            "host": host,
            "port": port,
            "protocol": "http",
            "secure": secure,
            "username": "analyst",
            "defaultDatabase": database,
            "dialTimeout": "10",
            "queryTimeout": "30",
        },
    }


def provisioning() -> dict[str, Any]:
    """What Grafana reads when it starts, by the path under provisioning/."""
    source = {
        **datasource("clickhouse", 8123, "aisleflow"),
        "isDefault": True,
        "editable": False,
        "secureJsonData": {"password": "$AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD"},
    }
    provider = {
        "name": FOLDER,
        "orgId": 1,
        "folder": FOLDER,
        "folderUid": FOLDER_UID,
        "type": "file",
        "disableDeletion": False,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": MOUNTED_AT},
    }
    group = {
        "orgId": 1,
        "name": alerts.GROUP,
        "folder": FOLDER,
        "interval": f"{alerts.INTERVAL_S}s",
        "rules": [alerts.rule_as_file(rule) for rule in alerts.RULES],
    }
    point = {
        "orgId": 1,
        "name": alerts.RECEIVER,
        "receivers": [alerts.email(f"${alerts.EMAIL}"), alerts.webhook(f"${alerts.WEBHOOK}")],
    }
    return {
        "datasources/clickhouse.yaml": {"apiVersion": 1, "datasources": [source]},
        "dashboards/aisleflow.yaml": {"apiVersion": 1, "providers": [provider]},
        "alerting/rules.yaml": {"apiVersion": 1, "groups": [group]},
        "alerting/contact-points.yaml": {"apiVersion": 1, "contactPoints": [point]},
        "alerting/policies.yaml": {"apiVersion": 1, "policies": [{"orgId": 1, **alerts.route()}]},
    }


def files() -> dict[Path, str]:
    """Every file that is made, with its text."""
    made = {
        HERE / "dashboards" / f"{uid}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n"
        for uid, board in dashboards().items()
    }
    return made | {HERE / "provisioning" / path: _yaml(content) for path, content in provisioning().items()}


def write() -> list[Path]:
    """Write what differs, and remove dashboards that are no more; the paths changed."""
    changed = []
    made = files()
    for path, text in made.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            changed.append(path)
    for path in (HERE / "dashboards").glob("*.json"):
        if path not in made:
            path.unlink()
            changed.append(path)
    return changed


def outdated() -> list[Path]:
    """Files that are not what this package makes, or that it makes no more."""
    made = files()
    wrong = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    return wrong + [path for path in (HERE / "dashboards").glob("*.json") if path not in made]


def _yaml(content: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Long texts, such as SQL, as blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    # What the SDK makes becomes plain first.
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    plain = json.loads(JSONEncoder().encode(content))
    return f"# {MADE_BY}\n" + yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
