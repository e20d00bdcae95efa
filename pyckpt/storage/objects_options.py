"""How an object store is reached: endpoint, region, credentials, addressing, patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pyckpt.errors import UsageError

__all__ = ["SCHEMES", "ObjectOptions", "check_service", "with_query"]

SCHEMES: Final = ("s3", "az", "gs")
"""Of URLs that these options go with: the S3 protocol, Azure's blobs, Google's cloud storage."""


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """Where an object store is and how long to wait for it; what is None comes from the environment."""

    endpoint: str | None = None
    """URL of the server, without the bucket. None: ``AWS_ENDPOINT_URL``, ``AZURE_STORAGE_ENDPOINT`` or
    ``GOOGLE_BASE_URL``, else the service's own."""
    region: str | None = None
    """S3: ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, else ``us-east-1``."""
    access_key_id: str | None = None
    """S3, with the next two."""
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    account: str | None = None
    """Azure: the storage account; ``AZURE_STORAGE_ACCOUNT_NAME``."""
    account_key: str | None = field(default=None, repr=False)
    """Azure: one of the two secrets that sign requests; ``AZURE_STORAGE_ACCOUNT_KEY``."""
    sas_token: str | None = field(default=None, repr=False)
    """Azure: the other, a signature made beforehand; ``AZURE_STORAGE_SAS_TOKEN``."""
    service_account: str | None = None
    """Google: path of a service account's key file; ``GOOGLE_APPLICATION_CREDENTIALS``."""
    bearer_token: str | None = field(default=None, repr=False)
    """Google: an OAuth token, which is not renewed; ``GOOGLE_BEARER_TOKEN``."""
    anonymous: bool = False
    """Sign nothing; for public buckets, to read."""
    addressing: Literal["path", "virtual"] | None = None
    """S3: whether the bucket is in the path or in the host's name.

    None: ``AWS_VIRTUAL_HOSTED_STYLE_REQUEST``, else ``virtual`` for Alibaba Cloud, which refuses paths, else ``path``.
    """
    proxy: str | None = None
    """URL of a proxy; None: ``HTTPS_PROXY`` and ``HTTP_PROXY``."""
    connect_timeout: float = 5.0
    """Seconds for one connection."""
    timeout: float = 60.0
    """Seconds for one request with its body."""
    retries: int = 10
    """How often one request is sent again, after pauses that grow and are drawn by lot."""
    deadline: float = 120.0
    """Seconds after which no request is sent again."""
    part_bytes: int = 16 << 20
    """Bytes of a part of an upload; more where an object would need too many. At least 5 MiB."""
    parts_in_flight: int = 16
    """Parts on their way at once, of all objects; each takes ``part_bytes`` of memory."""
    range_bytes: int = 8 << 20
    """Bytes of one request of a read."""
    ranges_in_flight: int = 16
    """Requests of reads on their way at once."""

    def __post_init__(self) -> None:
        least = {
            "connect_timeout": 0.001,
            "timeout": 0.001,
            "retries": 0,
            "deadline": 0,
            "part_bytes": 5 << 20,
            "parts_in_flight": 1,
            "range_bytes": 1,
            "ranges_in_flight": 1,
        }
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise UsageError("usage.invalid", f"expected {name} of at least {low}, found {getattr(self, name)!r}")
        if self.addressing not in (None, "path", "virtual"):
            raise UsageError("usage.invalid", f"expected addressing 'path' or 'virtual', found {self.addressing!r}")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise UsageError("usage.invalid", "access_key_id and secret_access_key go together")
        if self.account_key is not None and self.sas_token is not None:
            raise UsageError("usage.invalid", "expected account_key or sas_token, found both")
        for name in ("endpoint", "proxy"):
            url = getattr(self, name)
            if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
                raise UsageError("usage.invalid", f"expected {name} as http://host:port, found {url!r}")


_IN_URLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "endpoint": str,
    "region": str,
    "account": str,
    "addressing": str,
    "proxy": str,
    "anonymous": lambda text: {"true": True, "false": False}[text],
    "connect_timeout": float,
    "timeout": float,
    "retries": int,
    "deadline": float,
    "part_bytes": int,
    "parts_in_flight": int,
    "range_bytes": int,
    "ranges_in_flight": int,
}
"""Fields that a URL may set, with what reads them. No secrets: URLs are logged."""


_OF_ONE_SERVICE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("region", "access_key_id", "secret_access_key", "session_token", "addressing"), "s3"),
    **dict.fromkeys(("account", "account_key", "sas_token"), "az"),
    **dict.fromkeys(("service_account", "bearer_token"), "gs"),
}


def check_service(options: ObjectOptions, scheme: str, url: str) -> None:
    """UsageError for options that say nothing to the service of a scheme."""
    strangers = [
        f"{each.name} ({_OF_ONE_SERVICE[each.name]}://)"
        for each in fields(options)
        if _OF_ONE_SERVICE.get(each.name, scheme) != scheme and getattr(options, each.name) is not None
    ]
    if strangers:
        raise UsageError(
            "usage.invalid",
            f"expected options of {scheme}://, found {', '.join(strangers)}",
            key=url.partition("?")[0],
        )


def with_query(options: ObjectOptions, query: str, url: str) -> ObjectOptions:
    """Give the options with those of a URL's query in their place. UsageError for what is unknown or malformed."""
    changes: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _IN_URLS or name in changes:
            raise UsageError(
                "usage.invalid",
                f"expected each of {', '.join(_IN_URLS)} once at most, found {name!r}",
                key=url.partition("?")[0],
                hint="credentials belong into the environment: URLs are logged",
            )
        try:
            changes[name] = _IN_URLS[name](text)
        except (ValueError, KeyError) as error:
            raise UsageError("usage.invalid", f"{name}: cannot read {text!r}", key=url.partition("?")[0]) from error
    return replace(options, **changes)
