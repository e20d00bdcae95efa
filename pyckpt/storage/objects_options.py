"""How an object store is reached: endpoint, region, credentials, addressing, patience."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pyckpt.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = ["ObjectOptions", "connect", "with_query"]

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_OWN_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""Variables by which the engine finds credentials by itself."""


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """Where a server of the S3 protocol is and how long to wait for it; what is None comes from the environment."""

    endpoint: str | None = None
    """URL of the server, without the bucket; ``AWS_ENDPOINT_URL``. None: Amazon's, by the region."""
    region: str | None = None
    """``AWS_REGION`` or ``AWS_DEFAULT_REGION``, else ``us-east-1``."""
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    """Sign nothing; for public buckets."""
    addressing: Literal["path", "virtual"] | None = None
    """Whether the bucket is in the path or in the host's name.

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
        for name in ("endpoint", "proxy"):
            url = getattr(self, name)
            if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
                raise UsageError("usage.invalid", f"expected {name} as http://host:port, found {url!r}")


_IN_URLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "endpoint": str,
    "region": str,
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


def connect(bucket: str, options: ObjectOptions) -> S3Store:
    """Give the engine's store of a bucket. UsageError for what it does not take; no request is sent."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    endpoint, virtual = place(bucket, options, os.environ)
    config: dict[str, Any] = {"virtual_hosted_style_request": virtual, "disable_bulk_delete": True}
    client: dict[str, Any] = {
        "allow_http": endpoint is not None and endpoint.startswith("http:"),
        "connect_timeout": timedelta(seconds=options.connect_timeout),
        "timeout": timedelta(seconds=options.timeout),
    }
    given = {
        # The name that nothing in the environment goes before.
        "aws_endpoint_url_s3": endpoint,
        "region": options.region,
        "skip_signature": options.anonymous or None,
    }
    config.update({name: value for name, value in given.items() if value is not None})
    if options.proxy is not None:
        client["proxy_url"] = options.proxy
    provider: Any = None
    if options.access_key_id is not None:
        provider = partial(_given, options)
    elif not options.anonymous:
        provider, config = _from_profile(config)
    try:
        return S3Store(
            bucket,
            config=config,  # type: ignore[arg-type]
            client_options=client,  # type: ignore[arg-type]
            retry_config={
                "max_retries": options.retries,
                "retry_timeout": timedelta(seconds=options.deadline),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=10),
                    "base": 2,
                },
            },
            credential_provider=provider,
        )
    except (BaseError, ValueError) as error:
        raise UsageError("usage.invalid", f"no store can be opened with these options: {error}", key=bucket) from error


def place(bucket: str, options: ObjectOptions, environment: Mapping[str, str]) -> tuple[str | None, bool]:
    """Give the endpoint as the engine wants it, with the bucket in it if need be, and whether the host names it."""
    endpoint = options.endpoint or next((environment[name] for name in _ENDPOINTS if environment.get(name)), None)
    host = (urlsplit(endpoint).hostname or "") if endpoint else ""
    if options.addressing is not None:
        virtual = options.addressing == "virtual"
    elif "AWS_VIRTUAL_HOSTED_STYLE_REQUEST" in environment:
        virtual = environment["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"].lower() in ("1", "true", "yes", "on")
    else:
        virtual = host.endswith(".aliyuncs.com")
    if endpoint is None:
        return None, virtual
    endpoint = endpoint.rstrip("/")
    if virtual and not host.startswith(f"{bucket}."):
        parts = urlsplit(endpoint)
        endpoint = urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}"))
    return endpoint, virtual


def _given(options: ObjectOptions) -> dict[str, Any]:
    """Give credentials of the options: as fields, a session token of the environment would be mixed with them."""
    return {
        "access_key_id": options.access_key_id,
        "secret_access_key": options.secret_access_key,
        "token": options.session_token,
        "expires_at": None,
    }


def _from_profile(config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give a source of credentials for who keeps them in AWS's own files, which the engine does not read.

    None where the environment has credentials, or where there are no such files: then the machine's role counts.
    """
    if any(os.environ.get(name) for name in _OWN_CREDENTIALS):
        return None, config
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    if not os.environ.get("AWS_PROFILE") and not os.path.exists(file):
        return None, config
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UsageError(
            "usage.invalid",
            "the credentials are in a profile of AWS's files, which takes boto3 to read",
            hint="pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error
    session = boto3.Session()
    if session.get_credentials() is None:
        return None, config
    if session.region_name:
        config = {"region": session.region_name, **config}
    return Boto3CredentialProvider(session), config
