"""Bring a running Grafana to what this package says, over its HTTP API. What is as it should be is not touched.

Grafana keeps more than it is given (ids, versions, times), so "as it should be" means: everything that we would send is there.
What came from provisioning files is left to them. A password cannot be read back: it is set with a data source that has none, and
else only on request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaException

from grafana import FOLDER, FOLDER_UID, PLUGIN, PLUGIN_VERSION, alerts
from grafana.build import dashboards, datasource

TIMEOUT_S = 15


class PushError(RuntimeError):
    """Grafana refused or did not answer; the message says what to do."""


def kiosk(url: str) -> str:
    """The wall without Grafana's menus."""
    return f"{url.rstrip('/')}/d/aisleflow-wall/?kiosk&refresh=10s"


def holds(there: Any, ours: Any) -> bool:
    """Whether everything that we would send is there; Grafana may know more."""
    if isinstance(ours, dict):
        return isinstance(there, dict) and all(
            holds(there.get(key), value) if key in there else _is_default(value) for key, value in ours.items()
        )
    if isinstance(ours, list):
        return isinstance(there, list) and len(there) == len(ours) and all(map(holds, there, ours))
    return bool(there == ours)


def _is_default(value: Any) -> bool:
    """What Grafana leaves out when it tells: nothing, false, empty."""
    return value in (None, False, "", [], {})


class Push:
    """One visit to one Grafana."""

    def __init__(self, url: str, credential: str | tuple[str, str]) -> None:
        self.url = url.rstrip("/")
        self.changes = 0
        try:
            # With a slash at its end a path before it becomes part of the API's address.
            self._api = GrafanaApi.from_url(f"{self.url}/", credential=credential, timeout=TIMEOUT_S)
        except (TypeError, ValueError) as error:
            raise PushError(f"{url} is no address: give one such as http://localhost:3000") from error

    def everything(
        self,
        *,
        host: str,
        port: int,
        database: str,
        secure: bool,
        password: str,
        set_password: bool,
        email: str | None,
        webhook: str | None,
    ) -> Iterator[str]:
        """Each thing in its order, with a word on what became of it.

        Raises:
            PushError: Grafana refused or did not answer. What was done before stays; push again.
        """
        yield self._plugin()
        yield self._folder()
        yield from self._datasource(datasource(host, port, database, secure=secure), password, set_password)
        for uid, board in dashboards().items():
            yield self._dashboard(uid, board)
        yield self._rules()
        receivers = [alerts.email(email)] if email else []
        receivers += [alerts.webhook(webhook)] if webhook else []
        if receivers:
            for receiver in receivers:
                yield self._contact_point(receiver)
            yield self._policy()
        else:
            yield f"contact points: none, for neither {alerts.EMAIL} nor {alerts.WEBHOOK} is set; alerts show in Grafana only"
        yield self._playlist()

    def playlist_address(self) -> str | None:
        """Where the playlist plays, in kiosk mode; None if there is none."""
        found = self._found_playlist()
        return f"{self.url}/playlists/play/{found['uid']}?kiosk" if found else None

    def _plugin(self) -> str:
        with self._asking("plugins"):
            installed = {plugin["id"]: plugin for plugin in self._api.plugin.list()}
        if PLUGIN not in installed:
            raise PushError(
                f"the plugin {PLUGIN} is not installed in this Grafana: run `grafana cli plugins install {PLUGIN} {PLUGIN_VERSION}` "
                "there and restart it"
            )
        version = (installed[PLUGIN].get("info") or {}).get("version", "of unknown version")
        return f"plugin {PLUGIN}: {version}, dashboards are written for {PLUGIN_VERSION}"

    def _folder(self) -> str:
        with self._asking("folder"):
            there = self._maybe(self._api.folder.get_folder, FOLDER_UID)
            if there is not None:
                return f"folder {FOLDER}: as it should be"
            self._api.folder.create_folder(FOLDER, uid=FOLDER_UID)
        return self._changed(f"folder {FOLDER}: made")

    def _datasource(self, source: dict[str, Any], password: str, set_password: bool) -> Iterator[str]:
        name = f"data source {source['name']}"
        with self._asking(name):
            there = self._maybe(self._api.datasource.get_datasource_by_uid, source["uid"])
            if there is not None and there.get("readOnly"):
                yield f"{name}: from provisioning files, left to them"
                return
            has_password = bool(there and (there.get("secureJsonFields") or {}).get("password"))
            if there is not None and holds(there, source) and (has_password or not password) and not set_password:
                yield f"{name}: as it should be"
            else:
                # An update without the password keeps the one that is there.
                sent = {**source, "secureJsonData": {"password": password}} if password else source
                if there is None:
                    self._api.datasource.create_datasource(sent)
                else:
                    self._api.datasource.update_datasource_by_uid(source["uid"], sent)
                yield self._changed(f"{name}: {'made' if there is None else 'changed'}")
                has_password = has_password or bool(password)
        if not has_password:
            yield f"{name}: HAS NO PASSWORD; set AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD and push again"

    def _dashboard(self, uid: str, board: dict[str, Any]) -> str:
        name = f"dashboard {board['title']}"
        with self._asking(name):
            there = self._maybe(self._api.dashboard.get_dashboard, uid)
            if there is not None and there["meta"].get("provisioned"):
                return f"{name}: from provisioning files, left to them"
            if there is not None and there["meta"].get("folderUid") == FOLDER_UID and holds(there["dashboard"], board):
                return f"{name}: as it should be"
            sent = {"dashboard": {**board, "id": None}, "folderUid": FOLDER_UID, "overwrite": True}
            self._api.dashboard.update_dashboard({**sent, "message": "aisleflow grafana push"})
        return self._changed(f"{name}: {'made' if there is None else 'changed'}")

    def _rules(self) -> str:
        name = f"alert rules {alerts.GROUP}"
        group = {
            "title": alerts.GROUP,
            "folderUid": FOLDER_UID,
            "interval": alerts.INTERVAL_S,
            "rules": [alerts.rule_as_api(rule, FOLDER_UID) for rule in alerts.RULES],
        }
        plain = _plain(group)
        with self._asking(name):
            there = self._maybe(self._api.alertingprovisioning.get_rule_group, FOLDER_UID, alerts.GROUP)
            if there is not None and any(rule.get("provenance") == "file" for rule in there.get("rules", [])):
                return f"{name}: from provisioning files, left to them"
            if there is not None and holds(there, plain):
                return f"{name}: as they should be"
            self._api.alertingprovisioning.update_rule_group(FOLDER_UID, alerts.GROUP, plain)
        return self._changed(f"{name}: {'made' if there is None else 'changed'}")

    def _contact_point(self, receiver: dict[str, Any]) -> str:
        name = f"contact point {receiver['type']}"
        sent = {"name": alerts.RECEIVER, "disableResolveMessage": False, **receiver}
        with self._asking(name):
            known = {point.get("uid"): point for point in self._api.alertingprovisioning.get_contactpoints()}
            there = known.get(receiver["uid"])
            if there is not None and there.get("provenance") == "file":
                return f"{name}: from provisioning files, left to them"
            if there is not None and holds(there, sent):
                return f"{name}: as it should be"
            if there is None:
                self._api.alertingprovisioning.create_contactpoint(sent)
            else:
                self._api.alertingprovisioning.update_contactpoint(receiver["uid"], sent)
        return self._changed(f"{name}: {'made' if there is None else 'changed'}")

    def _policy(self) -> str:
        """Our route among those of others, whose tree stays theirs."""
        name = "notification policy"
        ours = {**alerts.route(), "object_matchers": [["source", "=", "aisleflow"]]}
        with self._asking(name):
            tree = self._api.alertingprovisioning.get_notification_policy_tree()
            if tree.get("provenance") == "file":
                return f"{name}: from provisioning files, left to them"
            routes = tree.get("routes") or []
            mine = [route for route in routes if route.get("object_matchers") == ours["object_matchers"]]
            if len(mine) == 1 and holds(mine[0], ours):
                return f"{name}: as it should be"
            others = [route for route in routes if route not in mine]
            sent = {key: value for key, value in tree.items() if key != "provenance"}
            self._api.alertingprovisioning.set_notification_policy_tree({**sent, "routes": [ours, *others]})
        return self._changed(f"{name}: {'changed' if mine else 'made'}")

    def _playlist(self) -> str:
        name = f"playlist {alerts.PLAYLIST}"
        sent = {
            "name": alerts.PLAYLIST,
            "interval": alerts.PLAYLIST_INTERVAL,
            "items": [{"type": "dashboard_by_uid", "value": uid} for uid in alerts.PLAYLIST_DASHBOARDS],
        }
        there = self._found_playlist()
        with self._asking(name):
            if there is None:
                self._api.client.POST("/playlists", json=sent)
            elif holds(self._api.client.GET(f"/playlists/{there['uid']}"), sent):
                return f"{name}: as it should be"
            else:
                self._api.client.PUT(f"/playlists/{there['uid']}", json=sent)
        return self._changed(f"{name}: {'made' if there is None else 'changed'}")

    def _found_playlist(self) -> dict[str, Any] | None:
        with self._asking("playlists"):
            listed = self._api.client.GET("/playlists")
        return next((playlist for playlist in listed if playlist["name"] == alerts.PLAYLIST), None)

    def _changed(self, line: str) -> str:
        self.changes += 1
        return line

    @staticmethod
    def _maybe(get: Any, *names: str) -> Any:
        """What is there, or None."""
        try:
            return get(*names)
        except GrafanaException as error:
            if error.status_code == 404:
                return None
            raise

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Grafana's errors in words that help."""
        try:
            yield
        except GrafanaException as error:
            told = error.response.get("message") if isinstance(error.response, dict) else None
            advice = {
                401: "the token or password is wrong: give --token, or --user and AISLEFLOW_GRAFANA_PASSWORD",
                403: "it may not do this: the token's service account, or the user, must have the role Admin",
                404: "this address has no such API: is it Grafana's, with the path it is served under?",
                412: "somebody else changed it meanwhile: push again",
            }.get(error.status_code, "its log says more")
            raise PushError(
                f"{what}: Grafana answered {error.status_code} ({told or error.message}); {advice}"
            ) from error
        except requests.exceptions.RequestException as error:
            raise PushError(
                f"Grafana at {self.url} does not answer ({type(error).__name__}): is it running, and the address right?"
            ) from error


def _plain(content: Any) -> Any:
    """What the SDK made, as plain JSON."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.loads(JSONEncoder().encode(content))
