"""The real Prometheus on the real server: what it scrapes there, and whether the alerts, the
dashboard and the scaling of deploy/monitoring ask for what there is."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import os
import pathlib
import re
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from pixembed_fixtures import PATIENCE, Pki, Server, StartServer, broken_images, encode, picture

from pixembed import Client

ROOT = pathlib.Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
SCALED_OBJECT = MONITORING / "scaled_object.yaml"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
TOOLS = pathlib.Path(os.environ["PIXEMBED_PROMETHEUS"])

# What the dashboard's variables stand for where it shows everything.
VARIABLES = {"$__rate_interval": "5m", "$job": "pixembed", "$instance": ".+", "$model": ".+"}

IMAGES = [encode(picture(60 + 10 * i, 50, i), "JPEG") for i in range(3)]
BROKEN, BROKEN_REASON = broken_images()["truncated_jpeg"]
# A rate needs traffic before and after a scrape.
ROUNDS = 2


# Only with TLS.
CERTIFICATE_END = "pixembed_certificate_end_seconds"


class Sample(NamedTuple):
    labels: dict[str, str]
    value: float


def until(condition: Callable[[], bool], what: str) -> None:
    """Asks until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"


class Prometheus:
    """Scrapes one server every second, under the job "pixembed", and has the alerts."""

    def __init__(self, target: str, folder: pathlib.Path) -> None:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [
                {"job_name": "pixembed", "static_configs": [{"targets": [target]}]},
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(config))  # JSON is YAML, too
        self._process = subprocess.Popen(
            [
                TOOLS / "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log: list[str] = []
        self._url = ""
        self._known = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line.rstrip("\n"))
            if found := re.search(r'msg="Listening on" address=(\S+)', line):
                self._url = f"http://{found[1]}"
                self._known.set()
        self._known.set()

    def _answer(self, path: str) -> bytes:
        assert self._known.wait(PATIENCE)
        assert self._url, "\n".join(self._log)
        with urllib.request.urlopen(f"{self._url}/{path}", timeout=PATIENCE) as response:
            answer: bytes = response.read()
        return answer

    def is_ready(self) -> bool:
        try:
            self._answer("-/ready")
        except urllib.error.HTTPError:
            return False
        return True

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API says; fails with its own words where it refuses."""
        try:
            answer = self._answer(f"api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")
        return json.loads(answer)["data"]

    def query(self, expression: str) -> list[Sample]:
        data = self.ask("query", query=expression)
        assert data["resultType"] == "vector", expression
        return [Sample(found["metric"], float(found["value"][1])) for found in data["result"]]

    def value(self, expression: str) -> float:
        """Of an expression that has one; 0 if it has none."""
        samples = self.query(expression)
        assert len(samples) <= 1, samples
        return samples[0].value if samples else 0

    def has_counted(self, expression: str, least: int) -> None:
        """Waits until it has."""
        until(lambda: self.value(expression) >= least, expression)

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join(PATIENCE)
            assert self._process.stderr is not None
            self._process.stderr.close()


def scrape(server: Server) -> str:
    with urllib.request.urlopen(f"{server.metrics}/metrics", timeout=PATIENCE) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = response.read().decode()
    return text


def send(server: Server) -> None:
    """A round: a batch with a broken image, a stream, and a request over HTTP."""
    with Client(server.address) as client:
        embeddings = client.embed([*IMAGES, BROKEN], errors="return")
        assert list(embeddings.errors) == [len(IMAGES)]
        assert all(result.error is None for result in client.embed_stream(IMAGES))
    request = urllib.request.Request(f"{server.http}/v1/embed", IMAGES[0])
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        assert len(json.load(response)["results"]) == 1


# Of a round, by what was sent.
ONLINE, BULK = len(IMAGES) + 1, len(IMAGES)


@pytest.fixture(scope="module")
def served(vit: pathlib.Path) -> Iterator[Server]:
    running = Server(
        f"--model=vit={vit}",
        *("--listen=127.0.0.1:0", "--http_listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0"),
    )
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def prometheus(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen every round, each in a scrape of its own."""
    target = served.metrics.removeprefix("http://")
    running = Prometheus(target, tmp_path_factory.mktemp("prometheus"))
    try:
        until(running.is_ready, "Prometheus")
        running.has_counted("up", 1)
        for done in range(1, ROUNDS + 1):
            send(served)
            running.has_counted("sum(pixembed_images_total)", (ONLINE + BULK + 1) * done)
            calls = 'grpc_server_handled_total{grpc_method=~"Embed|EmbedStream"}'
            running.has_counted(f"sum({calls})", 2 * done)
            running.has_counted("sum(pixembed_http_requests_total)", done)
        yield running
    finally:
        running.stop()


def promtool(*arguments: str | pathlib.Path, text: str | None = None) -> str:
    """What it prints; fails with that unless it is content."""
    result = subprocess.run(
        [TOOLS / "promtool", *arguments],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def names_in(expression: str) -> set[str]:
    """Of the metrics that it asks for."""
    outside_strings = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:up|(?:pixembed|grpc_server|process)_\w+)\b", outside_strings))


def samples_in(exposition: str) -> set[str]:
    """The names of what has a value there."""
    return {line.split("{")[0].split()[0] for line in exposition.splitlines() if line[:1] != "#"}


def filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def panel_queries() -> list[Any]:
    return [
        pytest.param(filled_in(target["expr"]), id=f"{panel['title']}: {target['refId']}")
        for panel in panels()
        for target in panel["targets"]
    ]


def scaling_queries() -> list[str]:
    return re.findall(r"^ +query: (.+)$", SCALED_OBJECT.read_text(), re.MULTILINE)


def test_promtool_finds_nothing_to_complain_of(served: Server, prometheus: Prometheus) -> None:
    assert prometheus.value("up") == 1  # so that everything that is counted has a value
    assert promtool("check", "metrics", text=scrape(served)) == ""
    promtool("check", "rules", "--lint-fatal", ALERTS)


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", ROOT / "tests" / "monitoring" / "alerts_test.yaml")


def test_each_alert_has_a_test(prometheus: Prometheus) -> None:
    tested = (ROOT / "tests" / "monitoring" / "alerts_test.yaml").read_text()
    for rule in prometheus.rules():
        assert f'alertname="{rule["name"]}", alertstate="firing"' in tested


def test_the_counts_are_those_of_what_was_sent(prometheus: Prometheus) -> None:
    images = {
        (sample.labels["lane"], sample.labels["reason"]): sample.value / ROUNDS
        for sample in prometheus.query('pixembed_images_total{model="vit"} > 0')
    }
    assert images == {("online", "OK"): ONLINE, ("online", BROKEN_REASON): 1, ("bulk", "OK"): BULK}
    size = sum(map(len, IMAGES))
    for expected, query in (
        (size + len(BROKEN) + len(IMAGES[0]), 'pixembed_image_bytes_total{lane="online"}'),
        (size, 'pixembed_image_bytes_total{lane="bulk"}'),
        (ONLINE, 'pixembed_image_seconds_count{lane="online"}'),
        (BULK, 'pixembed_image_seconds_count{lane="bulk"}'),
        (ONLINE, 'pixembed_image_queue_seconds_count{lane="online"}'),
        (ONLINE + BULK, "pixembed_image_decode_seconds_count"),
        (ONLINE + BULK, "pixembed_batch_images_sum"),
        (1, 'grpc_server_handled_total{grpc_method="Embed", grpc_code="OK"}'),
        (1, 'grpc_server_handled_total{grpc_method="EmbedStream", grpc_code="OK"}'),
        (1, 'grpc_server_started_total{grpc_method="Embed", grpc_type="unary"}'),
        (1, 'grpc_server_started_total{grpc_method="EmbedStream", grpc_type="bidi_stream"}'),
        (1, 'grpc_server_handling_seconds_count{grpc_method="Embed"}'),
        (1, 'pixembed_http_requests_total{route="/v1/embed", code="200"}'),
        (1, 'pixembed_http_request_seconds_count{route="/v1/embed"}'),
    ):
        assert prometheus.value(query) == expected * ROUNDS, query


def test_times_add_up(prometheus: Prometheus) -> None:
    inside = prometheus.value("sum(pixembed_image_seconds_sum)")
    parts = [
        prometheus.value("sum(pixembed_image_queue_seconds_sum)"),
        prometheus.value("sum(pixembed_image_decode_seconds_sum)"),
    ]
    assert 0 < parts[1] < sum(parts) < inside
    busy = prometheus.value("pixembed_busy_seconds_total")
    batches = prometheus.value("pixembed_batch_seconds_sum")
    assert 0 < batches <= busy <= batches * prometheus.value("pixembed_capacity") * (1 + 1e-9)


def test_what_is_served_is_told(served: Server, prometheus: Prometheus) -> None:
    with Client(served.address) as client:
        (model,) = client.models()
    (sample,) = prometheus.query("pixembed_model_info")
    told = {
        "model": "vit",
        "model_type": "vit",
        "precision": "float32",
        "dimension": "32",
        "devices": "cpu",
        "fingerprint": model.fingerprints["mean"],
    }
    assert told.items() <= sample.labels.items()
    assert prometheus.value("pixembed_ready") == 1
    assert prometheus.value("pixembed_queued_images") == 0
    assert prometheus.value("pixembed_queued_bytes") == 0
    assert prometheus.value("pixembed_max_queued_images") == 1024
    assert prometheus.value("pixembed_max_decoded_bytes") == 1 << 30
    # Its first words came soon after.
    first = datetime.datetime.fromisoformat(served.log[0].split()[0].replace("Z", "+00:00"))
    assert abs(prometheus.value("process_start_time_seconds") - first.timestamp()) < 60


def test_the_end_of_the_certificate_is_told(
    pki: Pki, vit: pathlib.Path, start_server: StartServer
) -> None:
    server = start_server(
        f"--model={vit}",
        "--metrics_listen=127.0.0.1:0",
        f"--tls_certificate_file={pki.server_cert}",
        f"--tls_private_key_file={pki.server_key}",
    )
    told = re.search(rf"^{CERTIFICATE_END} (\S+)$", scrape(server), re.MULTILINE)
    assert told is not None
    output = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", pki.server_cert],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    assert float(told[1]) == ssl.cert_time_to_seconds(output.strip().removeprefix("notAfter="))


def test_a_drain_is_seen(vit: pathlib.Path, start_server: StartServer) -> None:
    server = start_server(f"--model={vit}", "--metrics_listen=127.0.0.1:0", "--drain_grace=1h")
    assert "\npixembed_ready 1\n" in scrape(server)
    server.terminate()
    until(lambda: "\npixembed_ready 0\n" in scrape(server), "the drain")


def test_no_alert_is_about_to_fire(prometheus: Prometheus) -> None:
    def evaluations() -> dict[str, str]:
        return {rule["name"]: rule["lastEvaluation"] for rule in prometheus.rules()}

    before = evaluations()
    until(lambda: not before.items() & evaluations().items(), "every rule's next turn")
    assert {rule["name"]: rule.get("lastError") for rule in prometheus.rules()} == dict.fromkeys(
        before
    )
    active = {alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]}
    # How long images take and wait is this machine's affair.
    assert active <= {"PixembedSlow", "PixembedWaitLong"}


def test_each_alert_says_what_to_do(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert len({rule["name"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["duration"] > 0, rule["name"]
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["name"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["name"]


@pytest.mark.parametrize("query", panel_queries())
def test_a_panel_has_something_to_show(query: str, prometheus: Prometheus) -> None:
    samples = prometheus.query(query)
    assert any(math.isfinite(sample.value) for sample in samples), samples


def test_the_variables_of_the_dashboard_have_values(prometheus: Prometheus) -> None:
    found = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match is not None, variable
            samples = prometheus.query(f"group by ({match[2]}) ({filled_in(match[1])})")
            found[variable["name"]] = [sample.labels[match[2]] for sample in samples]
    (up,) = prometheus.query("up")
    assert found == {"job": ["pixembed"], "instance": [up.labels["instance"]], "model": ["vit"]}


def test_the_dashboard_is_whole() -> None:
    placed = DASHBOARD["panels"]
    assert len({panel["id"] for panel in placed}) == len(placed)
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
    for one, other in itertools.combinations((panel["gridPos"] for panel in placed), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in placed)


@pytest.mark.parametrize("query", scaling_queries())
def test_scaling_asks_for_one_number(query: str, prometheus: Prometheus) -> None:
    (sample,) = prometheus.query(query)
    assert math.isfinite(sample.value)


def test_every_metric_that_is_asked_for_exists(served: Server, prometheus: Prometheus) -> None:
    asked = {
        name
        for query in (
            *(rule["query"] for rule in prometheus.rules()),
            *(query.values[0] for query in panel_queries()),
            *scaling_queries(),
        )
        for name in names_in(query)
    }
    assert len(asked) > 30
    assert asked - samples_in(scrape(served)) == {"up", CERTIFICATE_END}


def test_every_flag_that_is_named_exists() -> None:
    help_text = subprocess.run(
        [os.environ["PIXEMBED_SERVER"], "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    for file in MONITORING.iterdir():
        for flag in re.findall(r"(?<![\w-])--[a-z_]+", file.read_text()):
            assert f"{flag}=" in help_text or f"{flag} " in help_text, (file, flag)
