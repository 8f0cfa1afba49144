"""The manifests of infra/kubernetes: valid by the schemas of their kinds, and in step with settings, compose and one another.

Kubernetes' own JSON Schemas come from the package kubernetes-validate; those of the operators' kinds lie in ``crds/`` (each file says
from where). Where there is no ``kubectl`` (5.0 or newer of kustomize in it), the files themselves are checked instead of what it makes
of them. No cluster is started: what only one can tell is said in infra/kubernetes/README.md.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml

from aisleflow.cli import app
from aisleflow.settings import Settings
from schemas.topics import DOOR, STORE_PARTITIONS, TOPICS
from tests.conftest import answers, free_port, process
from tests.infra import kafka_users

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/kubernetes"
OVERLAYS = ("small", "chain")
KUBERNETES = "1.34"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SETTINGS = {f"AISLEFLOW_{name.upper()}" for name in Settings.model_fields}
Manifest = dict[str, Any]


def _kustomizes() -> bool:
    if shutil.which("kubectl") is None:
        return False
    told = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    return (found := re.search(r"Kustomize Version: v(\d+)", told)) is not None and int(found[1]) >= 5


def _files(folder: Path) -> Iterator[Manifest]:
    """Every resource that a kustomization names in files, with its images' tags; patches are no resources."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    tags = {image["name"]: image["newTag"] for image in kustomization.get("images", [])}
    for name in kustomization.get("resources", []):
        path = folder / name
        for one in _files(path) if path.is_dir() else yaml.safe_load_all(path.read_text()):
            for container in _containers(one):
                if container["image"] in tags:
                    container["image"] += f":{tags[container['image']]}"
            yield one
    for generated in kustomization.get("configMapGenerator", []):
        literals = dict(line.split("=", 1) for line in generated.get("literals", []))
        files = {Path(name).name: (folder / name).read_text() for name in generated.get("files", [])}
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generated["name"]},
            "data": literals | files,
        }


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> tuple[str, list[Manifest]]:
    """The name of an overlay, and what would be applied."""
    name: str = request.param
    if not _kustomizes():
        return name, [one for one in _files(FOLDER / name) if one]
    built = subprocess.run(["kubectl", "kustomize", FOLDER / name], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return name, [one for one in yaml.safe_load_all(built.stdout) if one]


def _pods(manifest: Manifest) -> list[tuple[Manifest, Manifest]]:
    """(metadata, spec) of the pods that a manifest makes."""
    spec = manifest.get("spec", {})
    if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
        return [(spec["template"]["metadata"], spec["template"]["spec"])]
    return [
        (template.get("metadata", {}), template["spec"])
        for template in spec.get("templates", {}).get("podTemplates", [])
    ]


def _containers(manifest: Manifest) -> Iterator[Manifest]:
    for _, pod in _pods(manifest):
        yield from [*pod["containers"], *pod.get("initContainers", [])]


def _strict(schema: Any) -> Any:
    """An openAPIV3Schema as JSON Schema that refuses fields nobody declared (an API server only warns of them)."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        found["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


def _operators() -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for path in sorted((Path(__file__).parent / "crds").glob("*.json")):
        content = json.loads(path.read_text())
        content.pop("about")
        for kind, schema in content.items():
            schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
            kinds[kind] = _strict(schema)
    return kinds


def test_every_manifest_is_what_its_kind_may_be(overlay: tuple[str, list[Manifest]]) -> None:
    operators = _operators()
    for manifest in overlay[1]:
        kind = f"{manifest['apiVersion']}/{manifest['kind']}"
        if kind in operators:
            jsonschema.Draft202012Validator(operators[kind]).validate(manifest)
            for metadata, pod in _pods(manifest):
                metadata = {"name": "x", **metadata}
                made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
                kubernetes_validate.validate(made, KUBERNETES, strict=True)
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_what_the_readme_gives_a_till_is_what_its_kind_may_be() -> None:
    [block] = re.findall(r"```yaml\n(.+?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    operators = _operators()
    documents = list(yaml.safe_load_all(block))
    assert [one["kind"] for one in documents] == ["KafkaTopic", "KafkaUser"]
    for one in documents:
        jsonschema.Draft202012Validator(operators[f"{one['apiVersion']}/{one['kind']}"]).validate(one)
    topic, user = (one["spec"] for one in documents)
    facts, _, store = topic["topicName"].partition(DOOR)
    assert store and topic["config"] == {
        "message.timestamp.type": TOPICS[facts].config["message.timestamp.type"],
        "max.message.bytes": TOPICS[facts].max_message_bytes,
        "retention.ms": TOPICS[facts].retention_ms,
    }
    assert user["authorization"]["acls"] == [
        {"resource": {"type": "topic", "name": topic["topicName"]}, "operations": ["Write"]}
    ]


def test_the_operators_schemas_refuse_what_is_misspelt() -> None:
    operators = _operators()
    for name in ("ScaledObject", "Kafka", "KafkaUser", "ClickHouseInstallation"):
        [schema] = [schema for kind, schema in operators.items() if kind.endswith(f"/{name}")]
        [manifest] = [one for one in _files(FOLDER / "chain") if one["kind"] == name][:1]
        manifest["spec"]["maxReplicaCounts"] = 3
        with pytest.raises(jsonschema.ValidationError, match="maxReplicaCounts"):
            jsonschema.Draft202012Validator(schema).validate(manifest)


def test_programs_are_ours_with_arguments_that_they_know(overlay: tuple[str, list[Manifest]]) -> None:
    ours = [one for manifest in overlay[1] for one in _containers(manifest) if one["image"].startswith("aisleflow")]
    assert {one["name"] for one in ours} >= {"migrate", "topics", "worker", "api"}
    for container in ours:
        command = typer.main.get_command(app)
        context = typer.Context(command)
        name, *words = container["args"]
        found = command.get_command(context, name)  # type: ignore[attr-defined]
        assert found is not None, name
        found.make_context(name, words)


def test_variables_are_settings_and_no_secret_stands_in_a_file(overlay: tuple[str, list[Manifest]]) -> None:
    for manifest in overlay[1]:
        assert manifest["kind"] != "Secret"
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("aisleflow"):
            assert manifest["data"].keys() <= SETTINGS
        for container in _containers(manifest):
            for variable in container.get("env", []):
                name, value = variable["name"], variable.get("value")
                if container["image"].startswith("aisleflow"):
                    assert name in SETTINGS | {"CLICKHOUSE_PASSWORD"}
                if re.search("PASSWORD|KEYS|SALT|TOKEN", name):
                    assert value is None and "secretKeyRef" in variable["valueFrom"], name
                elif value is not None:
                    assert not re.search(r"://[^:/@]*:(?!\$\()[^@/]*@", value), f"{name}: a password in an address"


def test_images_are_pinned_and_those_of_compose(overlay: tuple[str, list[Manifest]]) -> None:
    composed = {service["image"] for service in COMPOSE.values()}
    for manifest in overlay[1]:
        for container in _containers(manifest):
            name, _, tag = container["image"].partition(":")
            assert re.fullmatch(r"\d+\.\d+(\.\d+)?", tag), f"{container['image']} is not pinned"
            if name in {image.partition(":")[0] for image in composed} - {"aisleflow"}:
                assert container["image"] in composed, f"compose has another {name}"


def test_pods_have_no_more_rights_than_they_need(overlay: tuple[str, list[Manifest]]) -> None:
    writable = {"kafka", "clickhouse", "clickhouse-keeper"}  # their images write beside their programs when they start
    seen = set()
    for manifest in overlay[1]:
        for _, pod in _pods(manifest):
            security = pod["securityContext"]
            assert security["runAsNonRoot"] and security["runAsUser"] > 0
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
            for container in pod["containers"]:
                seen.add(container["name"])
                limits = container["securityContext"]
                assert limits["allowPrivilegeEscalation"] is False and limits["capabilities"] == {"drop": ["ALL"]}
                assert limits.get("readOnlyRootFilesystem", False) is (container["name"] not in writable)
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
                assert "memory" in container["resources"]["limits"]
    assert seen >= {"api", "worker", "migrate", "topics", "grafana"}


def test_strimzi_s_pods_have_no_more_either() -> None:
    """The namespace refuses others (its label says restricted), and Strimzi gives its pods no such context by itself."""
    by_kind = {one["kind"]: one.get("spec", {}) for one in _files(FOLDER / "chain")}
    for template, containers in (
        (by_kind["KafkaNodePool"]["template"], ["kafkaContainer"]),
        (by_kind["Kafka"]["entityOperator"]["template"], ["topicOperatorContainer", "userOperatorContainer"]),
    ):
        assert template["pod"]["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for name in containers:
            limits = template[name]["securityContext"]
            assert limits == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_probes_ask_ports_that_are_open() -> None:
    ports = {"api": "AISLEFLOW_API_PORT", "worker": "AISLEFLOW_METRICS_PORT", "stock-worker": "AISLEFLOW_METRICS_PORT"}
    probed = set()
    for manifest in _files(FOLDER / "small"):
        for container in _containers(manifest):
            if manifest["kind"] == "Job" or container["name"] in {"forecasts", "restock"}:  # which serve nothing
                continue
            names = {port["name"]: port["containerPort"] for port in container["ports"]}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container[kind].get("httpGet") or container[kind]["tcpSocket"]
                assert asked["port"] in names
                probed.add((container["name"], asked.get("path")))
            if container["name"] in ports:
                variables = {one["name"]: one.get("value") for one in container["env"]}
                assert [variables[ports[container["name"]]]] == [str(port) for port in names.values()]
    assert probed == {
        ("api", "/login"),
        ("worker", "/metrics"),
        ("stock-worker", "/metrics"),
        ("kafka", None),
        ("clickhouse", "/ping"),
        ("grafana", "/api/health"),
    }


def test_the_api_as_it_starts_there_is_probed_well_while_the_other_parts_are_away(tmp_path: Path) -> None:
    """It listens to all, as a pod must, and neither probe depends on Kafka and ClickHouse; /health tells that they are away."""
    [container] = [
        one for manifest in _files(FOLDER / "small") for one in _containers(manifest) if one["name"] == "api"
    ]
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    port = free_port()
    environment = given | {
        "AISLEFLOW_API_PORT": str(port),
        "AISLEFLOW_API_KEYS": "k" * 24,
        "AISLEFLOW_DATA_DIR": str(tmp_path),
        "AISLEFLOW_KAFKA": f"127.0.0.1:{free_port()}",
        "AISLEFLOW_CLICKHOUSE_URL": f"http://reader:x@127.0.0.1:{free_port()}/aisleflow",
    }
    assert given["AISLEFLOW_HOST"] == "0.0.0.0"
    command = [sys.executable, "-m", "aisleflow", *container["args"]]
    with process(command, tmp_path / "api.log", lambda: answers(port, "/login"), environment):
        assert not answers(port, "/health")


def test_everything_that_is_named_is_there(overlay: tuple[str, list[Manifest]]) -> None:
    """Services, policies, budgets and scalers select pods that exist, on ports that these have; volumes and references resolve."""
    _, documents = overlay
    pods = [(metadata.get("labels", {}), pod) for one in documents for metadata, pod in _pods(one)]
    # What Strimzi and Altinity's operator give to the pods that they make.
    for one in documents:
        if one["kind"] == "KafkaNodePool":
            pods.append(
                (
                    one["spec"]["template"]["pod"]["metadata"]["labels"],
                    {"containers": [{"ports": [{"containerPort": 9092}]}]},
                )
            )
        if one["kind"] == "ClickHouseInstallation":
            name = one["metadata"]["name"]
            given = {"clickhouse.altinity.com/chi": name, "clickhouse.altinity.com/replica": "0"}
            pods.append((given, {"containers": [{"ports": [{"name": "http", "containerPort": 8123}]}]}))

    def selected(labels: dict[str, str]) -> list[Manifest]:
        return [pod for own, pod in pods if labels.items() <= own.items()]

    for one in documents:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            found = selected(spec["selector"])
            assert found, one["metadata"]["name"]
            for port in spec["ports"]:
                target = port.get("targetPort", port["port"])
                for pod in found:
                    open_ports = [each for container in pod["containers"] for each in container.get("ports", [])]
                    assert any(target in (each.get("name"), each["containerPort"]) for each in open_ports)
        elif one["kind"] == "PodDisruptionBudget":
            assert selected(spec["selector"]["matchLabels"])
        elif one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            target = spec["scaleTargetRef"]
            assert target["name"] in {each["metadata"]["name"] for each in documents if each["kind"] == "Deployment"}
        elif one["kind"] == "NetworkPolicy":
            chosen = spec["podSelector"]
            assert not chosen or selected(chosen.get("matchLabels", {}))
            for expression in chosen.get("matchExpressions", []):
                for value in expression["values"]:
                    assert selected({expression["key"]: value}), f"{one['metadata']['name']}: {value}"
    maps = {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
    for one in documents:
        for _, pod in _pods(one):
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            volumes |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
                for source in container.get("envFrom", []):
                    assert source["configMapRef"]["name"] in maps


def test_our_own_programs_reach_what_they_need_and_nothing_else(overlay: tuple[str, list[Manifest]]) -> None:
    """Both ends of every connection allow it: what starts it by its egress, what takes it by its ingress."""
    _, documents = overlay
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]

    def applies(selector: Manifest, labels: dict[str, str]) -> bool:
        return selector.get("matchLabels", {}).items() <= labels.items() and all(
            labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
        )

    def allowed(part: str, labels: dict[str, str], port: int) -> bool:
        mine = {"app.kubernetes.io/name": part}
        out = any(
            applies(spec["podSelector"], mine)
            and any(
                port in [each["port"] for each in rule.get("ports", [])]
                and any(applies(to["podSelector"], labels) for to in rule["to"] if to.keys() == {"podSelector"})
                for rule in spec.get("egress", [])
            )
            for spec in policies
        )
        into = any(
            applies(spec["podSelector"], labels)
            and any(
                port in [each["port"] for each in rule.get("ports", [])]
                and any(applies(by["podSelector"], mine) for by in rule["from"] if by.keys() == {"podSelector"})
                for rule in spec.get("ingress", [])
            )
            for spec in policies
        )
        return out and into

    kafka, clickhouse = {"aisleflow/part": "kafka"}, {"aisleflow/part": "clickhouse"}
    reach = {
        part: (allowed(part, kafka, 9092), allowed(part, clickhouse, 8123))
        for part in ("api", "worker", "stock-worker", "forecasts", "restock", "topics", "migrate", "grafana")
    }
    assert reach == {
        "api": (True, True),
        "worker": (True, True),
        "stock-worker": (True, True),
        "forecasts": (True, True),
        "restock": (True, True),
        "topics": (True, False),
        "migrate": (False, True),
        "grafana": (False, True),
    }
    closed = {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert closed in policies


def test_the_small_one_is_what_compose_is() -> None:
    documents = {(one["kind"], one["metadata"]["name"]): one for one in _files(FOLDER / "small")}

    def environment(name: str) -> dict[str, str | None]:
        [container] = _containers(documents["StatefulSet", name])
        return {one["name"]: one.get("value") for one in container["env"]}

    ours, theirs = environment("kafka"), COMPOSE["kafka"]["environment"]
    about_listeners = re.compile("LISTENER|LOG_DIRS|SASL|AUTHORIZER|SUPER_USERS")
    assert {k: v for k, v in ours.items() if not about_listeners.search(k)} == {
        k: str(v) for k, v in theirs.items() if not about_listeners.search(k) and k.startswith("KAFKA_")
    }
    assert environment("clickhouse").keys() == COMPOSE["clickhouse"]["environment"].keys()
    assert documents["ConfigMap", "aisleflow"]["data"]["AISLEFLOW_STORE_PARTITIONS"] == str(STORE_PARTITIONS)


def test_grafana_has_what_it_has_in_compose() -> None:
    named = {
        path
        for one in yaml.safe_load((ROOT / "grafana/kustomization.yaml").read_text())["configMapGenerator"]
        for path in one["files"]
    }
    files = [*(ROOT / "grafana/dashboards").glob("*.json"), *(ROOT / "grafana/provisioning").glob("*/*.yaml")]
    assert named == {str(path.relative_to(ROOT / "grafana")) for path in files}
    [deployment] = [
        one for one in _files(FOLDER / "small") if (one["kind"], one["metadata"]["name"]) == ("Deployment", "grafana")
    ]
    [container] = _containers(deployment)
    given = {one["name"]: one.get("value") for one in container["env"]}
    composed = COMPOSE["grafana"]["environment"]
    assert given.keys() == composed.keys()
    assert all(value is None or value == composed[name] for name, value in given.items())
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts >= {volume.split(":")[1] for volume in COMPOSE["grafana"]["volumes"]}
    [provisioning] = [one for one in deployment["spec"]["template"]["spec"]["volumes"] if one["name"] == "provisioning"]
    placed = {f"provisioning/{item['path']}" for item in provisioning["configMap"]["items"]}
    assert placed == {path for path in named if path.startswith("provisioning/")}


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_program_of_compose_runs_there(name: str) -> None:
    ours = {tuple(one["args"]) for manifest in _files(FOLDER / name) for one in _containers(manifest) if "args" in one}
    composed = {tuple(one["command"]) for one in COMPOSE.values() if one.get("build") and "profiles" not in one}
    # The small one opens Kafka to nobody outside, so it has no doors.
    assert ours == composed - ({("gate",)} if name == "small" else set())


def test_the_chain_s_numbers_and_names_fit_together() -> None:
    documents = list(_files(FOLDER / "chain"))
    by_kind: dict[str, list[Manifest]] = {}
    for one in documents:
        by_kind.setdefault(one["kind"], []).append(one)
    data: dict[str, str] = {}
    for one in by_kind["ConfigMap"]:
        if one["metadata"]["name"] == "aisleflow":
            data |= one["data"]
    [scaled], [pool], [kafka], [clickhouse] = (
        by_kind[kind] for kind in ("ScaledObject", "KafkaNodePool", "Kafka", "ClickHouseInstallation")
    )
    partitions = int(data["AISLEFLOW_STORE_PARTITIONS"])
    assert scaled["spec"]["maxReplicaCount"] == partitions
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    assert trigger["consumerGroup"] == Settings.model_fields["consumer_group"].default
    assert trigger["topic"] in TOPICS
    assert pool["spec"]["replicas"] >= int(data["AISLEFLOW_TOPIC_REPLICATION"])
    assert (
        data["AISLEFLOW_KAFKA"]
        == f"{kafka['metadata']['name']}-kafka-bootstrap:{kafka['spec']['kafka']['listeners'][0]['port']}"
    )
    assert trigger["bootstrapServers"].split(".")[0] == data["AISLEFLOW_KAFKA"].split(":")[0]
    assert kafka["spec"]["kafka"]["config"]["message.max.bytes"] >= max(
        one.max_message_bytes for one in TOPICS.values()
    )
    cluster = clickhouse["spec"]["configuration"]["clusters"][0]["layout"]
    assert data["AISLEFLOW_CLICKHOUSE_REPLICATED"] == "true"
    assert (
        f"<insert_quorum>{cluster['replicasCount']}<"
        in clickhouse["spec"]["configuration"]["files"]["users.d/quorum.xml"]
    )
    users = {one["metadata"]["name"] for one in by_kind["KafkaUser"]}
    patches = [*yaml.safe_load_all((FOLDER / "chain/kafka-access.yaml").read_text())]
    patches += [one for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == "gate"]
    for patch in patches:
        [container] = patch["spec"]["template"]["spec"]["containers"]
        variables = {one["name"]: one for one in container["env"]}
        user = variables["AISLEFLOW_KAFKA_USER"]["value"]
        assert user in users
        assert variables["AISLEFLOW_KAFKA_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == user
        [mount] = container["volumeMounts"]
        assert data["AISLEFLOW_KAFKA_CA_FILE"].startswith(f"{mount['mountPath']}/")


if _kustomizes():

    def test_kustomize_gives_the_chain_s_parts_their_users() -> None:
        """What only the build puts together: patches of Kafka's users, and ClickHouse's users file in the operator's resource."""
        built = subprocess.run(
            ["kubectl", "kustomize", FOLDER / "chain"], capture_output=True, text=True, check=True
        ).stdout
        documents = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(built)}
        files = documents["ClickHouseInstallation", "aisleflow"]["spec"]["configuration"]["files"]
        assert files["users.d/aisleflow.xml"] == (ROOT / "infra/clickhouse/users.xml").read_text()
        assert files["config.d/aisleflow.xml"] == (ROOT / "infra/clickhouse/merges.xml").read_text()
        for part, user in (
            ("worker", "worker"),
            ("stock-worker", "worker"),
            ("forecasts", "forecasts"),
            ("restock", "restock"),
            ("api", "api"),
            ("gate", "gate"),
        ):
            [container] = _containers(documents["Deployment", part])
            variables = {one["name"]: one.get("value") for one in container["env"]}
            assert variables["AISLEFLOW_KAFKA_USER"] == f"aisleflow-{user}"
            assert "AISLEFLOW_CLICKHOUSE_URL" in variables, "a patch adds to what the base says"


def test_each_user_of_the_chain_s_kafka_may_do_what_its_part_does_and_no_more() -> None:
    assert kafka_users.FILE.read_text() == kafka_users.text(), "run `python -m tests.infra.kafka_users`"
