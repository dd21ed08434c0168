"""What deploys the service: images, compose, KubeRay, held against the schemas and the code."""

import gzip
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from configs.environment import VARIABLES
from configs.settings import load_settings
from tests.serve.cluster import ROOT

DEPLOY = ROOT / "deploy"
CRD = ROOT / "tests/data/kuberay/ray.io_rayservices.yaml.gz"
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
RAY_ENV = dict(re.findall(r"(?m)^(\w+)=(.+)$", (ROOT / "configs/ray.env").read_text()))
INSTRUCTIONS = set("ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK RUN USER WORKDIR".split())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# ---- KubeRay ------------------------------------------------------------------------------------


@cache
def rayservice_schema() -> dict[str, Any]:
    """The schema of KubeRay 1.7.0, which also refuses what it does not know."""
    crd = yaml.load(gzip.decompress(CRD.read_bytes()), yaml.CSafeLoader)
    (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    _close(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def _close(schema: Any) -> None:
    """The API server drops unknown fields; here they are mistakes."""
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        for each in schema.values():
            _close(each)
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            schema.setdefault("additionalProperties", bool(open_ended))


def problems(service: Any) -> list[str]:
    found = Draft202012Validator(rayservice_schema()).iter_errors(service)
    return [f"{each.json_path}: {each.message[:200]}" for each in found]


@pytest.fixture
def service() -> Any:
    return load(DEPLOY / "kuberay/rayservice.yaml")


def containers(service: Any) -> list[Any]:
    cluster = service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [each for group in groups for each in group["template"]["spec"]["containers"]]


def test_the_service_is_one_that_kuberay_takes(service: Any) -> None:
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert problems(service) == []


def test_a_misspelt_field_of_the_service_would_be_found(service: Any) -> None:
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplica"] = 3
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["volume"] = []
    assert len(problems(service)) == 2


def test_the_service_deploys_the_configuration_for_a_cluster(service: Any) -> None:
    tree = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert tree == load(ROOT / "configs/cluster.yaml")
    (application,) = ServeDeploySchema.model_validate(tree).applications
    settings, warnings = load_settings(application.args, {})
    assert ["CC-BY-NC-SA-4.0" in warning for warning in warnings] == [True]
    assert settings.access.enabled


def test_a_cluster_serves_what_one_card_serves() -> None:
    (cluster,) = load(ROOT / "configs/cluster.yaml")["applications"]
    (card,) = load(ROOT / "configs/gpu.yaml")["applications"]
    access = cluster["args"].pop("access")
    assert access["enabled"]
    assert cluster["args"] == card["args"]


def test_every_pod_of_ray_has_the_environment_that_ray_needs(service: Any) -> None:
    for container in containers(service):
        given = {each["name"]: each.get("value") for each in container["env"]}
        assert given.items() >= RAY_ENV.items()


def test_the_image_has_the_ray_that_the_service_names(service: Any) -> None:
    named = service["spec"]["rayClusterConfig"]["rayVersion"]
    assert f'"ray[serve]=={named}"' in (ROOT / "pyproject.toml").read_text()


def test_no_container_runs_as_root_or_gains_rights(service: Any) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        spec = group["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        for container in spec["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_rays_own_ports_ask_for_a_token(service: Any) -> None:
    assert service["spec"]["rayClusterConfig"]["authOptions"]["mode"] == "token"


def test_a_pool_of_nodes_has_room_for_all_that_is_placed_there(service: Any) -> None:
    (application,) = load(ROOT / "configs/cluster.yaml")["applications"]
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    most_nodes = {group["labels"]["gemmavoice/pool"]: group["maxReplicas"] for group in groups}
    cards = 0.0
    for deployment in application["deployments"]:
        actor = deployment["ray_actor_options"]
        most = deployment.get("autoscaling_config", {}).get("max_replicas", 1)
        assert actor["label_selector"]["gemmavoice/pool"] == (
            "gpu" if "num_gpus" in actor else "cpu"
        )
        cards += actor.get("num_gpus", 0) * most
        if deployment.get("max_replicas_per_node") == 1:
            assert most_nodes["cpu"] >= most
    assert most_nodes["gpu"] >= cards - 1e-9


def test_a_pod_outlives_the_drain_of_what_runs_in_it(service: Any) -> None:
    (application,) = load(ROOT / "configs/cluster.yaml")["applications"]
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    grace = {
        group["labels"]["gemmavoice/pool"]: group["template"]["spec"][
            "terminationGracePeriodSeconds"
        ]
        for group in groups
    }
    for deployment in application["deployments"]:
        pool = deployment["ray_actor_options"]["label_selector"]["gemmavoice/pool"]
        assert grace[pool] > deployment.get("graceful_shutdown_timeout_s", 20)


def test_only_the_service_port_is_open_to_everybody(service: Any) -> None:
    policy = load(DEPLOY / "kuberay/networkpolicy.yaml")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    cluster = service["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert group["template"]["metadata"]["labels"].items() >= chosen.items()
    rules = policy["spec"]["ingress"]
    to_all = [rule for rule in rules if not rule.get("from")]
    assert [port["port"] for rule in to_all for port in rule["ports"]] == [8000]
    among = [
        rule for rule in rules if rule.get("from") == [{"podSelector": {"matchLabels": chosen}}]
    ]
    assert len(among) == 1
    (others,) = [rule for rule in rules if rule not in to_all + among]
    (operator,) = others["from"]
    assert operator["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
    assert [port["port"] for port in others["ports"]] == [8265]


def test_the_pods_find_their_keys_and_models(service: Any) -> None:
    secret = load(DEPLOY / "kuberay/secret.example.yaml")
    claim = load(DEPLOY / "kuberay/models.yaml")
    text = (DEPLOY / "kuberay/rayservice.yaml").read_text()
    assert f"secretName: {secret['metadata']['name']}" in text
    assert f"claimName: {claim['metadata']['name']}" in text
    (application,) = load(ROOT / "configs/cluster.yaml")["applications"]
    folder, name = application["args"]["access"]["keys_file"].rsplit("/", 1)
    assert f"mountPath: {folder}," in text
    assert name in secret["stringData"]
    assert yaml.safe_load(secret["stringData"][name])["keys"]


# ---- Redis --------------------------------------------------------------------------------------


def redis_of_kubernetes() -> dict[str, Any]:
    text = (DEPLOY / "kuberay/redis.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def redis_commands() -> list[str]:
    compose = load(DEPLOY / "compose.yaml")["services"]["redis"]["command"]
    (container,) = redis_of_kubernetes()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return [compose[-1].replace("$$", "$"), container["command"][-1]]


def test_both_redis_are_started_in_the_same_way() -> None:
    without_paths = {re.sub(r"/run/secrets/[\w/]+", "PATH", each) for each in redis_commands()}
    assert len(without_paths) == 1


def test_the_password_of_redis_reaches_it_and_is_in_no_list_of_processes(tmp_path: Path) -> None:
    """The very command of compose, with another program and another file."""
    (tmp_path / "password").write_text("canary\n")
    fake = tmp_path / "redis-server"
    fake.write_text('#!/bin/sh\necho "$@"\ncat\n')
    fake.chmod(0o755)
    command = redis_commands()[0].replace("/run/secrets/redis_password", str(tmp_path / "password"))
    path = f"{tmp_path}:/usr/bin:/bin"
    told = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    arguments, config = told.stdout.splitlines()
    assert "canary" not in arguments
    assert config == "requirepass canary"
    assert "--maxmemory 512mb --maxmemory-policy volatile-lru" in arguments


def test_the_pods_find_redis_and_nobody_else_does(service: Any) -> None:
    redis, secret = redis_of_kubernetes(), load(DEPLOY / "kuberay/secret.example.yaml")
    given = secret["stringData"]
    settings, _ = load_settings({}, {"REDIS_URL": given["redis-url"]})
    assert settings.sessions.redis_url is not None
    url = urlsplit(settings.sessions.redis_url.get_secret_value())
    (port,) = redis["Service"]["spec"]["ports"]
    assert (url.hostname, url.port) == (redis["Service"]["metadata"]["name"], port["port"])
    assert url.password == given["redis-password"]
    reference = {"name": "gemmavoice", "key": "redis-url", "optional": True}
    for container in containers(service):
        environment = {each["name"]: each for each in container["env"]}
        assert environment["REDIS_URL"]["valueFrom"]["secretKeyRef"] == reference
    labels = redis["Deployment"]["spec"]["template"]["metadata"]["labels"]
    policy = redis["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels == redis["Service"]["spec"]["selector"]
    (rule,) = policy["ingress"]
    cluster = service["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        callers = rule["from"][0]["podSelector"]["matchLabels"]
        assert group["template"]["metadata"]["labels"].items() >= callers.items()
    assert labels != rule["from"][0]["podSelector"]["matchLabels"]


def test_redis_has_room_beyond_what_it_may_hold() -> None:
    pod = redis_of_kubernetes()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["memory"] == "768Mi"
    assert load(DEPLOY / "compose.yaml")["services"]["redis"]["mem_limit"] == "768m"
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


# ---- images -------------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    split = [line.partition(" ") for line in lines if line.strip()]
    return [(name, rest.strip()) for name, _, rest in split]


def by_name(path: Path) -> str:
    return path.name


def test_there_is_an_image_for_processors_and_one_for_gpus() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=by_name)
def test_an_image_is_built_in_one_stage_and_runs_in_another(path: Path) -> None:
    steps = instructions(path)
    assert {name for name, _ in steps} <= INSTRUCTIONS
    stages = [rest for name, rest in steps if name == "FROM"]
    assert len(stages) == 2
    assert stages[0].endswith(" AS build")
    arguments = dict(rest.split("=", 1) for name, rest in steps if name == "ARG")
    for stage in stages:
        (base,) = re.findall(r"\$\{(\w+)\}", stage)
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", arguments[base])  # never `latest`
    assert ("COPY", "--from=build /app /app") in steps


@pytest.mark.parametrize("path", DOCKERFILES, ids=by_name)
def test_hadolint_has_nothing_to_say_of_an_image(path: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run([linter, path], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=by_name)
def test_an_image_holds_what_the_locks_name_for_any_processor(path: Path) -> None:
    steps = instructions(path)
    arguments = dict(rest.split("=", 1) for name, rest in steps if name == "ARG")
    assert (ROOT / f"requirements/{arguments['LOCK']}.lock").is_file()
    assert "-DGGML_NATIVE=OFF" in arguments["LLAMA_CMAKE_ARGS"]
    assert "march=native" not in path.read_text()
    runs = [rest for name, rest in steps if name == "RUN"]
    assert any('scripts/setup.sh "${LOCK}"' in run for run in runs)
    assert not any(re.search(r"\b(pip|uv|curl|wget) (install|http)", run) for run in runs)
    for run in runs:
        if "apt-get install" in run:
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run


@pytest.mark.parametrize("path", DOCKERFILES, ids=by_name)
def test_an_image_copies_nothing_that_is_not_there_or_ignored(path: Path) -> None:
    allowed = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = [rest for name, rest in instructions(path) if name == "COPY"]
    for sources in (copy.split()[:-1] for copy in copies if "--from" not in copy):
        for source in sources:
            assert (ROOT / source).exists()
            assert (
                source in allowed
                or any(source.startswith(f"{each}/") for each in allowed)
                or any(each.startswith(f"{source}/") for each in allowed)
            )


@pytest.mark.parametrize("path", DOCKERFILES, ids=by_name)
def test_an_image_runs_unprivileged_and_says_whether_it_lives(path: Path) -> None:
    steps = instructions(path)
    last = dict(steps)
    assert int(last["USER"]) >= 1000
    assert "/health/live" in last["HEALTHCHECK"]
    assert last["EXPOSE"] == "8000"
    assert last["ENTRYPOINT"] == '["deploy/docker/entrypoint.sh"]'
    command = yaml.safe_load(last["CMD"])
    assert command[:3] == ["python", "-m", "serve_app"]
    assert command[4:] == ["--host", "0.0.0.0"]
    assert (ROOT / command[3]).is_file()


def test_the_entry_of_an_image_sets_rays_environment() -> None:
    path = DEPLOY / "docker/entrypoint.sh"
    assert path.stat().st_mode & 0o111
    assert "\n. configs/ray.env\n" in path.read_text()


def test_the_entry_of_an_image_reads_the_address_of_redis(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:canary@redis\n")
    text = (DEPLOY / "docker/entrypoint.sh").read_text().replace("cd /app", f"cd {ROOT}")
    for environ, seen in (
        ({"REDIS_URL_FILE": str(tmp_path / "url")}, "redis://:canary@redis"),
        ({"REDIS_URL": "redis://other"}, "redis://other"),
        ({}, ""),
    ):
        told = subprocess.run(
            ["/bin/bash", "-c", text, "entry", "printenv", "REDIS_URL"],
            env={"PATH": "/usr/bin:/bin", **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.stdout.strip() == seen, told.stderr


# ---- compose ------------------------------------------------------------------------------------


def test_compose_publishes_ports_to_this_machine_alone() -> None:
    services = load(DEPLOY / "compose.yaml")["services"]
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert ports.keys() == {"gemmavoice", "redis", "prometheus", "grafana"}
    assert ports["redis"] == []
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)
    assert ports["gemmavoice"] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_compose_builds_what_is_there(name: str) -> None:
    for service in load(DEPLOY / name)["services"].values():
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_compose_mounts_what_is_there_and_declares_what_it_names() -> None:
    tree = load(DEPLOY / "compose.yaml")
    for service in tree["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (
                (DEPLOY / source).exists() if source.startswith(".") else source in tree["volumes"]
            )
        assert set(service.get("secrets", [])) <= tree["secrets"].keys()
        assert service["cap_drop"] == ["ALL"]


def test_compose_asks_for_keys_and_for_rays_token() -> None:
    environment = load(DEPLOY / "compose.yaml")["services"]["gemmavoice"]["environment"]
    assert environment["API_KEY_ENABLED"] == "true"
    assert environment["RAY_AUTH_MODE"] == "token"
    settings, warnings = load_settings({}, environment)
    assert warnings == []
    assert settings.access.keys_file == "/run/secrets/api_keys"


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.cuda.yaml"]])
def test_compose_itself_takes_the_files(files: list[str]) -> None:
    compose = [shutil.which("docker") or "docker", "compose"]
    if shutil.which("docker") is None or _status([*compose, "version"]):
        pytest.skip("docker compose is not here")
    named = [part for file in files for part in ("-f", str(DEPLOY / file))]
    assert _status([*compose, *named, "config", "--quiet"]) == 0


def _status(command: list[str]) -> int:
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


# ---- the runbook --------------------------------------------------------------------------------


def test_every_variable_that_is_set_or_read_somewhere_is_in_the_documents(service: Any) -> None:
    names = set(RAY_ENV) | {variable.name for variable in VARIABLES}
    for container in containers(service):
        names |= {each["name"] for each in container["env"]}
    for each in load(DEPLOY / "compose.yaml")["services"].values():
        names |= set(each.get("environment", {}))
    script = (ROOT / "scripts/setup.sh").read_text() + (DEPLOY / "docker/entrypoint.sh").read_text()
    names |= set(re.findall(r"\$\{([A-Z][A-Z_]+)[:}-]", script)) - {"XDG_CACHE_HOME"}
    pages = [(ROOT / "docs" / page).read_text() for page in ("operations.md", "configuration.md")]
    told = set(re.findall(r"\b\w+\b", " ".join(pages)))
    assert {"LLAMA_CMAKE_ARGS", "LOG_FORMAT", "HF_TOKEN", "RAY_AUTH_MODE"} <= names
    assert sorted(names - told) == []


# ---- Prometheus ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "tests/alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_takes_the_rules_and_each_fires_when_it_should(asked: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here")
    ran = subprocess.run(
        [promtool, *asked],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_test_that_sees_it_fire_and_one_that_does_not() -> None:
    rules = load(DEPLOY / "prometheus/alerts.yml")["groups"][0]["rules"]
    alerts = {rule["alert"]: rule["annotations"]["summary"] for rule in rules}
    quiet, *loud = load(DEPLOY / "prometheus/tests/alerts_test.yml")["tests"]
    assert {each["alertname"] for each in quiet["alert_rule_test"]} == alerts.keys()
    assert not any(each["exp_alerts"] for each in quiet["alert_rule_test"])
    assert {
        each["alertname"] for test in loud for each in test["alert_rule_test"] if each["exp_alerts"]
    } == alerts.keys()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    services = load(DEPLOY / "compose.yaml")["services"]
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = load(provisioning / "datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = load(provisioning / "dashboards/gemmavoice.yaml")["providers"]
    folder = provider["options"]["path"]
    assert (
        f"./grafana/gemmavoice.json:{folder}/gemmavoice.json:ro" in services["grafana"]["volumes"]
    )
    targets = load(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": ["gemmavoice:8000"]}]


# ---- scaling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "cluster"])
def test_one_replica_of_each_model_fills_a_card(name: str) -> None:
    (application,) = load(ROOT / f"configs/{name}.yaml")["applications"]
    shares = [each["ray_actor_options"].get("num_gpus", 0) for each in application["deployments"]]
    assert sum(shares) == pytest.approx(1)
    assert all(round(share * 10) == pytest.approx(share * 10) for share in shares)


@pytest.mark.parametrize("name", ["gpu", "cluster"])
def test_everything_that_scales_reacts_in_seconds_to_its_own_work(name: str) -> None:
    (application,) = load(ROOT / f"configs/{name}.yaml")["applications"]
    scaled = {
        each["name"]: each for each in application["deployments"] if "autoscaling_config" in each
    }
    assert set(scaled) == {"dialogue", "stt", "llm", "tts"}
    for deployment in scaled.values():
        scaling = AutoscalingConfig.model_validate(deployment["autoscaling_config"])
        assert scaling.metrics_interval_s < scaling.look_back_period_s <= 5
        assert scaling.upscale_delay_s <= 2
        assert scaling.downscale_delay_s >= 120  # a model load, several times over
        # Work that is wanted of a replica must fit in it, or it would never scale up.
        wanted = scaling.get_target_ongoing_requests()
        assert wanted < deployment["max_ongoing_requests"]
        assert deployment["health_check_period_s"] <= 2
    policy = scaled["dialogue"]["autoscaling_config"]["policy"]["policy_function"]
    assert policy == "serve_app.scaling:by_work"
    live = load_settings({}, {})[0].live
    assert scaled["dialogue"]["max_ongoing_requests"] > live.max_sessions
    assert scaled["dialogue"]["graceful_shutdown_timeout_s"] > live.drain_s
