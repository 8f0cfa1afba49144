"""What Grafana's HTTP API keeps, as far as `aisleflow grafana push` uses it: paths, status codes and conflicts as Grafana's
documentation of its HTTP API says (folder, data source, dashboard, plugins, alerting provisioning, playlist). No Grafana can be had
where these tests run, so this is our reading of that documentation, not Grafana.

It keeps what it is sent, adds what Grafana adds (ids, versions, provenance), hides secrets, and remembers each call that wrote.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN, PASSWORD = "glsa_right", "right"


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Grafana:
    """The state of one Grafana."""

    def __init__(self) -> None:
        self.plugins = ["prometheus", "grafana-clickhouse-datasource"]
        self.folders: dict[str, Any] = {}
        self.datasources: dict[str, Any] = {}
        self.passwords: dict[str, str] = {}
        self.dashboards: dict[str, Any] = {}
        self.groups: dict[tuple[str, str], Any] = {}
        self.points: dict[str, Any] = {}
        self.policies: dict[str, Any] = {
            "receiver": "grafana-default-email",
            "group_by": ["grafana_folder", "alertname"],
        }
        self.playlists: dict[str, Any] = {}
        self.written: list[str] = []
        self.role = "Admin"

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What the API answers to one call."""
        if method != "GET":
            if self.role != "Admin":
                raise Refusal(403, "You'll need additional permissions to perform this action.")
            self.written.append(f"{method} {path}")
        match [method, *path.strip("/").split("/")]:
            case ["GET", "plugins"]:
                return [{"id": plugin, "info": {"version": "4.20.0"}} for plugin in self.plugins]
            case ["GET", "folders", uid]:
                return self._one(self.folders, uid, "folder not found")
            case ["POST", "folders"]:
                if body["uid"] in self.folders:
                    raise Refusal(412, "the folder has been changed by someone else")
                if body["title"] in [folder["title"] for folder in self.folders.values()]:
                    raise Refusal(409, "a folder with the same name already exists")
                self.folders[body["uid"]] = {**body, "id": len(self.folders) + 1, "version": 1}
                return self.folders[body["uid"]]
            case ["GET", "datasources", "uid", uid]:
                return self._one(self.datasources, uid, "Data source not found")
            case ["POST", "datasources"]:
                if body["name"] in [source["name"] for source in self.datasources.values()]:
                    raise Refusal(409, "data source with the same name already exists")
                return self._keep_source(body)
            case ["PUT", "datasources", "uid", uid]:
                self._one(self.datasources, uid, "Data source not found")
                return self._keep_source(body)
            case ["GET", "dashboards", "uid", uid]:
                return self._one(self.dashboards, uid, "Dashboard not found")
            case ["POST", "dashboards", "db"]:
                return self._keep_dashboard(body)
            case ["GET", "v1", "provisioning", "folder", folder, "rule-groups", group]:
                return self._one(self.groups, (folder, group), "")
            case ["PUT", "v1", "provisioning", "folder", folder, "rule-groups", group]:
                if folder not in self.folders:
                    raise Refusal(400, "folder does not exist")
                rules = [
                    {**rule, "id": at, "provenance": "api", "updated": "2026-01-01T00:00:00Z"}
                    for at, rule in enumerate(body["rules"], 1)
                ]
                self.groups[folder, group] = {**body, "rules": rules}
                return self.groups[folder, group]
            case ["GET", "v1", "provisioning", "contact-points"]:
                return list(self.points.values())
            case ["POST", "v1", "provisioning", "contact-points"]:
                if body["uid"] in self.points:
                    raise Refusal(409, "receiver configuration with UID already exists")
                self.points[body["uid"]] = {**body, "provenance": "api"}
                return self.points[body["uid"]]
            case ["PUT", "v1", "provisioning", "contact-points", uid]:
                self._one(self.points, uid, "contact point not found")
                self.points[uid] = {**body, "uid": uid, "provenance": "api"}
                return {"message": "contactpoint updated"}
            case ["GET", "v1", "provisioning", "policies"]:
                return self.policies
            case ["PUT", "v1", "provisioning", "policies"]:
                named = {point["name"] for point in self.points.values()} | {"grafana-default-email"}
                for route in body.get("routes", []):
                    if route["receiver"] not in named:
                        raise Refusal(400, f"receiver {route['receiver']!r} does not exist")
                self.policies = {**body, "provenance": "api"}
                return {"message": "policies updated"}
            case ["GET", "playlists"]:
                return [{key: one[key] for key in ("uid", "name", "interval")} for one in self.playlists.values()]
            case ["GET", "playlists", uid]:
                return self._one(self.playlists, uid, "Playlist not found")
            case ["POST", "playlists"]:
                return self._keep_playlist(f"made-up-{len(self.playlists)}", body)
            case ["PUT", "playlists", uid]:
                self._one(self.playlists, uid, "Playlist not found")
                return self._keep_playlist(uid, body)
        raise Refusal(404, "Not found")

    @staticmethod
    def _one(kept: dict[Any, Any], key: Any, message: str) -> Any:
        if key not in kept:
            raise Refusal(404, message)
        return kept[key]

    def _keep_source(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["type"] not in self.plugins:
            raise Refusal(404, "plugin not found")
        secret = body.get("secureJsonData", {})
        self.passwords |= {body["uid"]: secret["password"]} if "password" in secret else {}
        shown = {key: value for key, value in body.items() if key != "secureJsonData"}
        fields = {"password": True} if body["uid"] in self.passwords else {}
        kept = {**shown, "id": 7, "readOnly": False, "version": 1, "secureJsonFields": fields}
        self.datasources[body["uid"]] = kept
        return {"datasource": kept, "message": "Datasource saved"}

    def _keep_dashboard(self, body: dict[str, Any]) -> dict[str, Any]:
        board = body["dashboard"]
        before = self.dashboards.get(board["uid"])
        if body["folderUid"] not in self.folders:
            raise Refusal(400, "folder not found")
        if before and before["meta"]["provisioned"]:
            raise Refusal(400, "Cannot save provisioned dashboard")
        if before and not body.get("overwrite"):
            raise Refusal(412, "The dashboard has been changed by someone else")
        version = before["dashboard"]["version"] + 1 if before else 1
        meta = {"folderUid": body["folderUid"], "provisioned": False}
        self.dashboards[board["uid"]] = {"meta": meta, "dashboard": {**board, "id": 3, "version": version}}
        return {"uid": board["uid"], "status": "success", "version": version}

    def _keep_playlist(self, uid: str, body: dict[str, Any]) -> dict[str, Any]:
        items = [{**item, "title": item["value"]} for item in body["items"]]
        self.playlists[uid] = {**body, "uid": uid, "items": items}
        return self.playlists[uid]


@contextmanager
def served(grafana: Grafana, under: str = "") -> Iterator[str]:
    """The address of a stub that serves this state, perhaps under a path as behind a proxy."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do()

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Nothing: pytest shows what matters."""

        def _do(self) -> None:
            given = self.headers.get("Authorization", "")
            basic = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            try:
                if not path.startswith(f"{under}/api/"):
                    raise Refusal(404, "Not found")
                if given not in {f"Bearer {TOKEN}", basic}:
                    raise Refusal(
                        401, "Invalid API key" if given.startswith("Bearer") else "Invalid username or password"
                    )
                status, told = (
                    200,
                    grafana.answer(self.command, path.removeprefix(f"{under}/api"), json.loads(text or b"null")),
                )
            except Refusal as refusal:
                status, told = refusal.status, {"message": refusal.message}
            answer = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{under}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
