"""The connection to a Kubernetes API server; the only file that imports ``lightkube``.

lightkube finds and keeps the credentials; requests use its HTTP client directly, without its models. A read is repeated when the
server is busy (429, 502, 503, 504) or the connection breaks; a write never is.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig, SingleConfig
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.models import User

from kubernaut.adapters.kube_http import GONE, ResourceExpired, parse_date, refused_credentials, send, status_error, status_message
from kubernaut.adapters.kubeconfig import read_kubeconfig
from kubernaut.errors import ClusterUnreachable, KubernautError
from kubernaut.settings import is_loopback

CONNECT_SECONDS = 10.0
_DEFAULT = "~/.kube/config"
_JSON = "application/json"


class Connection:
    """A connection to an API server, by kubeconfig and context; the first request opens it.

    Args:
        kubeconfig: The file, or several joined as in KUBECONFIG; by default ~/.kube/config, in a pod the service account.
        context: The kube context; the current one by default.
        timeout: Seconds to wait for one response.

    Attributes:
        timeout: Seconds to wait for one response.
        server_time: The API server's time in its last response, in whole seconds; ``None`` before the first response.
    """

    def __init__(self, kubeconfig: str | None, context: str | None, timeout: float) -> None:
        self.timeout = timeout
        self.server_time: datetime | None = None
        self._kubeconfig = kubeconfig
        self._context = context
        self._lock = threading.Lock()
        self._config: SingleConfig | None = None
        self._client: httpx2.Client | None = None

    def config(self) -> SingleConfig:
        """Return the configuration. Raises: ClusterUnreachable (kubeconfig missing or invalid, unknown context)."""
        with self._lock:
            if self._config is None:
                self._config = self._read_config()
            return self._config

    def name(self) -> str:
        """Return the cluster's name, as the beginning of a sentence."""
        config = self.config()
        return f"The cluster of the context {config.context_name!r} ({config.cluster.server})"

    def client(self) -> httpx2.Client:
        """Return the HTTP client. Raises: ClusterUnreachable (certificates or credentials cannot be used)."""
        config = self.config()
        with self._lock:
            if self._client is None:
                timeout = httpx2.Timeout(self.timeout, connect=min(self.timeout, CONNECT_SECONDS))
                config = config._replace(user=config.user or User())
                try:
                    # Loopback is never reached through a proxy, as in Go's programs (kubectl, Helm).
                    proxied = not is_loopback(urlsplit(config.cluster.server).hostname or "")
                    self._client = Client(config, ConnectionParams(timeout=timeout, trust_env=proxied))
                except (OSError, ssl.SSLError, ValueError, ConfigError) as error:
                    name = f"The context {config.context_name!r}"
                    raise ClusterUnreachable(f"{name} has unusable certificates or credentials: {error}.") from error
                weakref.finalize(self, self._client.close)
            return self._client

    def close(self) -> None:
        """Close the connections; the next request connects again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def json(self, method: str, address: str, **options: Any) -> dict[str, Any]:
        """Return the object in a response; the options are those of :meth:`request`."""
        return self.read(self.request(method, address, **options))

    def read(self, response: httpx2.Response) -> dict[str, Any]:
        """Return the object in a response. Raises: ResourceExpired, and the error for the status."""
        if response.status_code == GONE:
            raise ResourceExpired(status_message(response.text))
        if response.is_error:
            raise self.error(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise ClusterUnreachable(f"{self.name()} answers with something other than Kubernetes JSON.") from error
        return answer

    def request(
        self,
        method: str,
        address: str,
        *,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx2.Response:
        """Send a request and return the response, of any status; ``timeout`` may shorten the connection's."""
        sent = {"Accept": _JSON, **({"Content-Type": _JSON} if body is not None else {}), **(headers or {})}
        content = None if body is None else json.dumps(body).encode()
        client = self.client()
        seconds = min(self.timeout, timeout or self.timeout)
        limits = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        with self.mapped_errors(seconds=seconds):
            request = client.build_request(method, address, params=parameters, headers=sent, content=content, timeout=limits)
            response = send(client, request, retry=method == "GET")
        self._note_time(response)
        return response

    def open(self, address: str, *, parameters: Mapping[str, Any], headers: Mapping[str, str], seconds: float) -> httpx2.Response:
        """GET a stream and return the response, whose body is still to be read; its reader waits ``seconds`` for each part.

        Raises:
            ResourceExpired: The state to start from has expired.
            KubernautError: The error for the status.
        """
        limits = httpx2.Timeout(CONNECT_SECONDS, read=seconds)
        client = self.client()
        with self.mapped_errors(seconds=seconds):
            request = client.build_request("GET", address, params=parameters, headers=headers, timeout=limits)
            response = client.send(request, stream=True)
            if response.is_error:
                response.read()
                response.close()
        if response.is_error:
            self.read(response)
        self._note_time(response)
        return response

    @contextmanager
    def mapped_errors(self, what: str | None = None, seconds: float | None = None) -> Iterator[None]:
        """Convert the failures of the HTTP client; ``what`` is the beginning of a sentence."""
        try:
            yield
        except httpx2.TimeoutException as error:
            raise ClusterUnreachable(f"{what or self.name()} did not answer within {seconds or self.timeout:.0f} s.") from error
        except httpx2.HTTPError as error:
            raise ClusterUnreachable(f"{self.name()} does not answer: {error}.") from error
        except ConfigError as error:
            raise refused_credentials(
                f"{self.name()}: the kubeconfig's credential plugin failed.", details=str(error).splitlines()[-5:]
            ) from error
        except FileNotFoundError as error:
            raise refused_credentials(
                f"{self.name()}: the kubeconfig's credential plugin {error.filename} is not installed."
            ) from error
        except OSError as error:
            plugin, why = error.filename or "", error.strerror or str(error)
            raise refused_credentials(
                f"{self.name()}: the kubeconfig's credential plugin {plugin} cannot be run: {why}."
            ) from error
        except (KeyError, json.JSONDecodeError) as error:
            raise refused_credentials(f"{self.name()}: the kubeconfig's credential plugin returned no token.") from error

    def error(self, response: httpx2.Response) -> KubernautError:
        """Return the error for a response that failed."""
        return status_error(self.name(), response.status_code, status_message(response.text))

    def _note_time(self, response: httpx2.Response) -> None:
        self.server_time = parse_date(response.headers.get("Date", "")) or self.server_time

    def _read_config(self) -> SingleConfig:
        named = self._kubeconfig
        hint = "Check the `kubeconfig` and `context` settings (`kubernaut config`)."
        try:
            if not named and not Path(_DEFAULT).expanduser().is_file() and "KUBERNETES_SERVICE_HOST" in os.environ:
                return _single(KubeConfig.from_service_account().get())
            return _single(KubeConfig.from_dict(read_kubeconfig(named or _DEFAULT)).get(self._context))
        except ConfigError as error:
            raise ClusterUnreachable(f"The kubeconfig cannot be used: {error}.", hint=hint) from error
        except (KeyError, TypeError, AttributeError, msgspec.MsgspecError) as error:
            context = f" for the context {self._context!r}" if self._context else ""
            raise ClusterUnreachable(f"The kubeconfig is invalid{context}: {type(error).__name__} {error}.", hint=hint) from error


def context_namespace(kubeconfig: str | None, context: str | None) -> str:
    """Return the namespace of a kube context, in a pod that of the service account; ``default`` if none is set.

    Raises:
        ClusterUnreachable: The kubeconfig is missing or invalid, or the context is unknown.
    """
    return Connection(kubeconfig, context, timeout=1.0).config().namespace


def _single(config: SingleConfig | None) -> SingleConfig:
    if config is None:
        raise ConfigError("it has no context")
    return config
