"""The client of Ray's Jobs API against a server that answers as the dashboard does, or worse."""

import http.server
import json
import threading

import pytest

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import RunPaths
from drivetrain.runs.cluster import ray_address
from drivetrain.runs.cluster.placement import Placement
from drivetrain.runs.cluster.ray_jobs import Node, RayJobs
from drivetrain.runs.cluster.ray_submission import RayBackend


@pytest.fixture
def dashboard(monkeypatch, tmp_path):
    """A dashboard that wants the token "right"; `answers` maps a path to (code, body)."""
    answers, seen = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            token = self.headers.get("Authorization")
            code, body = answers.get(self.path, (404, "no such thing"))
            if token != "Bearer right":
                code, body = (401, "Missing") if token is None else (403, "Invalid")
            length = int(self.headers.get("Content-Length") or 0)
            seen.append((self.command, self.path, self.rfile.read(length)))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    server.answers, server.seen = answers, seen  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def usage(cpus, free_cpus, gpus=0.0, free_gpus=0.0):
    pairs = {"CPU": [cpus - free_cpus, cpus], "node:10.0.0.1": [0.0, 1.0]}
    return pairs | ({"GPU": [gpus - free_gpus, gpus]} if gpus else {})


def status_of(*nodes):
    by_node = {str(index): node for index, node in enumerate(nodes)}
    return {"result": True, "data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": by_node}}}}


def test_what_a_job_does_in_ray_s_words(dashboard):
    client = RayJobs(dashboard.url)
    for word, state in (("PENDING", "pending"), ("RUNNING", "running"), ("FAILED", "ended"), ("STOPPED", "ended")):
        dashboard.answers["/api/jobs/a"] = (200, {"status": word, "message": "because\n of that"})
        assert client.look("a").state == state
        assert client.look("a").message == f"Ray: {word}, because of that"
    assert client.look("b").state == "gone"
    dashboard.answers["/api/jobs/a%2Fb"] = (200, {"status": "NEW WORD", "message": None})
    assert client.look("a/b").state == "unknown"


def test_a_token_is_looked_for_where_ray_does(dashboard, monkeypatch, tmp_path):
    dashboard.answers.update({"/api/jobs/": (200, []), "/api/version": (200, {"ray_version": "2.60.0"})})
    client = RayJobs(dashboard.url)
    assert client.check() == "2.60.0"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(RunError, match="the cluster does not accept the token of RAY_AUTH_TOKEN; it must be that of"):
        client.check()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(RunError, match=r"wants a token and none was found; put it into RAY_AUTH_TOKEN or ~/.ray/auth_"):
        client.check()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("right\n")
    assert client.check() == "2.60.0"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RunError, match="none was found"):
        client.check()
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    with pytest.raises(RunError, match=r"^RAY_AUTH_TOKEN_PATH=.*missing: cannot be read .No such file or directory."):
        client.check()


def test_servers_that_are_no_ray_cluster(dashboard):
    client = RayJobs(dashboard.url)
    with pytest.raises(RunError, match=r"answers 404 to .*; is it the address of a Ray dashboard"):
        client.check()
    dashboard.answers.update({"/api/jobs/": (200, "<html>"), "/api/version": (200, "<html>")})
    with pytest.raises(RunError, match="answers, but not as a Ray cluster does; jobs go to the port of its dashboard"):
        client.check()
    assert client.look("a").state == "gone"
    dashboard.answers["/api/jobs/a"] = (500, "Traceback\nValueError: no")
    assert client.look("a").state == "unknown"
    dashboard.answers["/api/jobs/a/stop"] = (500, "Traceback\nValueError: no")
    with pytest.raises(RunError, match=r"^http://127.0.0.1:[0-9]+: Ray refuses with HTTP 500: ValueError: no$"):
        client.stop("a")
    assert client.nodes() == []
    assert client.output("a") == ""


def test_nobody_answers(monkeypatch):
    with pytest.raises(RunError, match=r"^http://127.0.0.1:1: Ray does not answer .Connection refused.; start it with"):
        RayJobs("http://127.0.0.1:1").check()
    seen = RayJobs("http://127.0.0.1:1").look("a")
    assert (seen.state, seen.message) == ("unknown", "http://127.0.0.1:1: Ray does not answer (Connection refused)")


@pytest.mark.needs_ray
def test_a_job_needs_one_node_that_is_large_enough(dashboard):
    dashboard.answers.update({"/api/jobs/": (200, []), "/api/version": (200, {"ray_version": "2.60.0"})})
    nodes = status_of(usage(8.0, 2.0), usage(4.0, 4.0, gpus=1.0, free_gpus=0.0))
    dashboard.answers["/api/cluster_status"] = (200, nodes)
    backend = RayBackend(Placement(backend="ray", address=dashboard.url))
    assert RayJobs(dashboard.url).nodes()[1] == Node(cpus=4.0, free_cpus=4.0, gpus=1.0, free_gpus=0.0)
    assert backend.check(cpus=8.0, gpus=0.0) == dashboard.url  # it waits until they are free
    with pytest.raises(
        RunError,
        match=r"no node has 8 CPUs and 1 GPUs, which this training asks for; the largest: 4 CPUs .4 free. and 1 GPUs "
        ".0 free., 8 CPUs .2 free. and 0 GPUs .0 free.; lower --cpus, --gpus or training.processes$",
    ):
        backend.check(cpus=8.0, gpus=1.0)
    dashboard.answers["/api/cluster_status"] = (200, {"data": None})
    assert backend.check(cpus=800.0, gpus=0.0) == dashboard.url  # it does not tell: its queue decides


@pytest.mark.needs_ray
def test_the_name_of_a_job_is_that_of_the_run_unless_it_is_taken(dashboard, tmp_path):
    backend, paths = RayBackend(Placement(backend="ray", address=dashboard.url)), RunPaths(root=tmp_path, run_id="a")
    assert backend.job_id(paths) == "a"
    dashboard.answers["/api/jobs/a"] = (200, {"status": "SUCCEEDED"})
    assert backend.job_id(paths) == "a-2"
    own = {"run_id": "a", "project": str(tmp_path)}
    dashboard.answers["/api/jobs/a"] = (200, {"status": "RUNNING", "metadata": own})
    assert backend.job_id(paths) == "a-2"  # what is stopped may be on its way out
    dashboard.answers["/api/jobs/a-2"] = (200, {"status": "RUNNING"})
    with pytest.raises(RunError, match="a job 'a-2' is running there already; choose another --run-id, or end it with"):
        backend.job_id(paths)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://head:8265", "http://head:8265"),
        ("head", "http://head:8265"),
        ("10.0.0.1:9000/", "http://10.0.0.1:9000"),
        ("https://ray.lab.org/prefix/", "https://ray.lab.org/prefix"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_addresses(text, address):
    assert ray_address.jobs_address(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ray://head:10001", "^--address ray://head:10001: an address of Ray Client; jobs go to http://head:8265$"),
        (
            "http://[x",
            r"^--address http://\[x: no address \(Invalid IPv6 URL\); give one such as http://127.0.0.1:8265$",
        ),
        ("ftp://head", "^--address ftp://head: no address of a Ray cluster; give one such as"),
        ("a b", "^--address a b: no address of a Ray cluster; give one such as"),
        ("http://head:99999", "no address .Port out of range"),
        ("http://me@head", "only scheme, host, port and path are understood"),
        ("", "^--address : no address of a Ray cluster"),
    ],
)
def test_wrong_addresses(text, message):
    with pytest.raises(UsageError, match=message):
        ray_address.jobs_address(text)


def test_addresses_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # of tasks, not of jobs
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert ray_address.jobs_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:1234/")
    assert ray_address.jobs_address(None) == "http://head:1234"


def test_without_ray_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"^--backend ray: Ray is not installed; pip install --editable '.\[ray\]'$"):
        RayBackend(Placement(backend="ray"))
