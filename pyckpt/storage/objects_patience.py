"""How the engine of object stores waits and tries again, alike for all services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pyckpt.storage.objects_options import ObjectOptions

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["client_options", "from_environment", "retry_config"]


def client_options(options: ObjectOptions, endpoint: str | None) -> ClientConfig:
    """Give what goes for every connection to an endpoint; None is the service's own."""
    client: dict[str, Any] = {
        "allow_http": endpoint is not None and endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=options.connect_timeout),
        "timeout": timedelta(seconds=options.timeout),
    }
    if options.proxy is not None:
        client["proxy_url"] = options.proxy
    return cast("ClientConfig", client)


def retry_config(options: ObjectOptions) -> RetryConfig:
    """Give how often and how long a request is repeated; the pauses are drawn by lot below a bound that grows."""
    return {
        "max_retries": options.retries,
        "retry_timeout": timedelta(seconds=options.deadline),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
    }


def from_environment(names: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Give the first of several variables that says something."""
    return next((environment[name] for name in names if environment.get(name)), None)
