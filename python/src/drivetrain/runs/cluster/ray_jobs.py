"""A client of Ray's Jobs API that needs no Ray: `status` asks through it in a moment, or learns that nobody answers.

The calls are those of Ray's documented REST interface (``/api/jobs/``). What a node has to give away stands in
``/api/cluster_status``, which the dashboard shows.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from drivetrain.errors import RunError
from drivetrain.runs.cluster.job_look import JobLook, JobState
from drivetrain.runs.cluster.ray_address import token, token_source

LOOK_TIMEOUT_S = 2.0
"""How long a look at a job may take [s]."""
CALL_TIMEOUT_S = 30.0
"""The same for what changes something: a head under load takes its time [s]."""
STATES: Mapping[str, JobState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "ended",
    "FAILED": "ended",
    "STOPPED": "ended",
}


class UnreachableError(RunError):
    """Nobody answers at the cluster's address."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node of a cluster has."""

    cpus: float
    """Processors."""
    free_cpus: float
    """Of them free now."""
    gpus: float
    """GPUs."""
    free_gpus: float
    """Of them free now."""


class RayJobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        self.address = address

    def check(self) -> str:
        """Return the version of Ray there.

        Raises:
            RunError: Nobody answers, it is no Ray cluster, or the token is wrong.
        """
        self._call("GET", "/api/jobs/", timeout_s=CALL_TIMEOUT_S)
        answer = self._call("GET", "/api/version", timeout_s=CALL_TIMEOUT_S)
        version = answer.get("ray_version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise RunError(
                f"{self.address}: answers, but not as a Ray cluster does; jobs go to the port of its dashboard"
            )
        return version

    def look(self, job_id: str) -> JobLook:
        """Return how a job is doing; never fails, and takes a moment at most."""
        try:
            found = self.find(job_id, timeout_s=LOOK_TIMEOUT_S)
        except RunError as error:
            return JobLook(state="unknown", message=str(error).partition(";")[0])
        if found is None:
            return JobLook(state="gone", message=f"Ray at {self.address} knows no job '{job_id}'")
        word = str(found.get("status"))
        said = " ".join(str(found.get("message") or "").split())
        return JobLook(state=STATES.get(word, "unknown"), message=f"Ray: {word}{f', {said}' if said else ''}"[:300])

    def find(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, Any] | None:
        """Return what Ray knows of a job; None: there is none of that name.

        Raises:
            RunError: The cluster does not answer, or refuses.
        """
        try:
            answer = self._call("GET", f"/api/jobs/{quote(job_id, safe='')}", timeout_s=timeout_s)
        except _NotFoundError:
            return None
        return answer if isinstance(answer, dict) else None

    def submit(self, document: Mapping[str, Any]) -> None:
        """Submit a job; a head that has just started is given time.

        Raises:
            RunError: The cluster does not answer, or refuses.
        """
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            try:
                self._call("POST", "/api/jobs/", document=document, timeout_s=CALL_TIMEOUT_S)
                return
            except RunError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    def stop(self, job_id: str) -> None:
        """Ask Ray to end a job: SIGTERM, and SIGKILL where that is not enough.

        Raises:
            RunError: The cluster does not answer, or refuses.
        """
        self._call("POST", f"/api/jobs/{quote(job_id, safe='')}/stop", timeout_s=CALL_TIMEOUT_S)

    def output(self, job_id: str) -> str:
        """Return what a job has printed; empty where that cannot be had."""
        try:
            answer = self._call("GET", f"/api/jobs/{quote(job_id, safe='')}/logs", timeout_s=CALL_TIMEOUT_S)
        except RunError:
            return ""
        return str(answer.get("logs") or "") if isinstance(answer, dict) else ""

    def nodes(self) -> list[Node]:
        """Return what each node has and has free; nothing where the cluster does not tell."""
        try:
            answer = self._call("GET", "/api/cluster_status", timeout_s=CALL_TIMEOUT_S)
            nodes = answer["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
            return [_node(usage) for usage in nodes.values()]
        except (RunError, KeyError, TypeError, AttributeError, ValueError):
            return []

    def _call(self, method: str, path: str, *, timeout_s: float, document: Mapping[str, Any] | None = None) -> Any:
        secret = token()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {secret}"} if secret else {})}
        body = json.dumps(document).encode() if document is not None else None
        request = urllib.request.Request(f"{self.address}{path}", data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, secret) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise UnreachableError(
                f"{self.address}: Ray does not answer ({why}); start it with 'ray start --head', or name "
                "another with --address"
            ) from error
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise RunError(
                f"{self.address}: answers, but not as a Ray cluster does; jobs go to the port of its dashboard"
            ) from error

    def _refusal(self, error: urllib.error.HTTPError, secret: str | None) -> RunError:
        if error.code == 401 and not secret:
            return RunError(
                f"{self.address}: the cluster wants a token and none was found; put it into RAY_AUTH_TOKEN or "
                "~/.ray/auth_token ('ray get-auth-token' on the head prints it)"
            )
        if error.code in (401, 403):
            return RunError(
                f"{self.address}: the cluster does not accept the token of {token_source()}; it must be that of "
                "its head ('ray get-auth-token' there prints it)"
            )
        said = [line.strip() for line in error.read().decode(errors="replace").splitlines() if line.strip()]
        if error.code == 404:
            return _NotFoundError(f"{self.address}: answers 404 to {error.url}; is it the address of a Ray dashboard?")
        # A traceback's own line says it; what follows belongs to it, or to nothing.
        why = next((line for line in reversed(said) if re.match(r"[\w.]*(Error|Exception): ", line)), "".join(said[:1]))
        return RunError(f"{self.address}: Ray refuses with HTTP {error.code}{f': {why[:200]}' if why else ''}")


class _NotFoundError(RunError):
    """The cluster answers that there is no such thing."""


def _node(usage: Mapping[str, Any]) -> Node:
    """Return a node from pairs (used, all) by resource."""

    def pair(name: str) -> tuple[float, float]:
        used, total = usage.get(name, (0.0, 0.0))
        return float(total), float(total) - float(used)

    (cpus, free_cpus), (gpus, free_gpus) = pair("CPU"), pair("GPU")
    return Node(cpus=cpus, free_cpus=free_cpus, gpus=gpus, free_gpus=free_gpus)
