"""Grafana as code: dashboards, alert rules and contact points, and the files that provision them.

``aisleflow grafana build`` writes ``grafana/dashboards/*.json`` and ``grafana/provisioning/``; ``aisleflow grafana push`` sends the
same to a Grafana that runs elsewhere. One file holds one dashboard; ``grafana/panels.py`` has what they share, and
``grafana/sql.py`` the SQL that several of them ask.
"""

#: Grafana and the plugin that the JSON is written for; docker-compose.yml runs them, a test holds the two together.
GRAFANA_VERSION = "12.2.0"
PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.20.0"

DATASOURCE_UID = "aisleflow"
FOLDER_UID = "aisleflow"
FOLDER = "Aisleflow"
