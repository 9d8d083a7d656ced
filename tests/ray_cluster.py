"""A Ray cluster of one node for tests: on ports of its own, with a token, gone with the tests."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

START_S = 180.0


class RayCluster:
    """A head node in a process group of its own.

    ``environment`` is what a client needs: set it with ``monkeypatch.setenv``, or give it to a process.
    """

    def __init__(self, *, num_cpus):
        self.num_cpus = num_cpus
        self.token = secrets.token_hex(16)
        # Ray puts sockets below it, whose names may be no longer than about a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="dtray", dir="/tmp"))
        self._process = None
        self.start()

    @property
    def address(self):
        """Where the Jobs API answers."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def environment(self):
        """Variables of a client of this cluster."""
        return {
            "RAY_ADDRESS": f"{self.node_address}:{self._port}",
            "RAY_API_SERVER_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    @property
    def node_address(self):
        """The address by which the node knows itself."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("8.8.8.8", 80))  # sends nothing
                return probe.getsockname()[0]
            except OSError:
                return "127.0.0.1"

    def start(self):
        """Start the head on new ports and wait until its Jobs API answers."""
        self._port, self._dashboard_port, client_port, self._agent_port = _free_ports(4)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--port", str(self._port), "--dashboard-port", str(self._dashboard_port)]
        command += ["--ray-client-server-port", str(client_port), "--num-cpus", str(self.num_cpus)]
        command += ["--dashboard-agent-listen-port", str(self._agent_port)]  # else of every head on this machine
        command += ["--object-store-memory", str(100 << 20), "--temp-dir", str(self.folder), "--disable-usage-stats"]
        environment = {**os.environ, **self.environment}
        environment.pop("RAY_ADDRESS")  # a head that is told of another joins it
        log = (self.folder / "head.log").open("ab")
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        # Tests that are killed leave no cluster behind.
        group = self._process.pid
        watch = f"while kill -0 {os.getpid()} 2>/dev/null; do sleep 1; done; kill -9 -{group}; rm -rf {self.folder}"
        self._watch = subprocess.Popen(["sh", "-c", watch], stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, "no Ray head within three minutes"
            time.sleep(0.2)

    def kill(self):
        """Kill every process of the cluster."""
        if self._process is not None:
            os.killpg(self._watch.pid, signal.SIGKILL)
            self._watch.wait()
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self):
        """End the cluster and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        request = urllib.request.Request(f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=5):
                # Jobs are started by the node's agent, which comes last.
                socket.create_connection((self.node_address, self._agent_port), timeout=5).close()
                return True
        except (urllib.error.URLError, OSError):
            return False


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
