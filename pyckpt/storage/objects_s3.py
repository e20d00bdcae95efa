"""Buckets of servers that speak the S3 protocol: endpoint, addressing, and where credentials are found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from pyckpt.errors import UsageError
from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.objects_patience import client_options, from_environment, retry_config

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = ["connect_s3", "place"]

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_OWN_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""Variables by which the engine finds credentials by itself."""


def connect_s3(bucket: str, options: ObjectOptions) -> S3Store:
    """Give the engine's store of a bucket; no request is sent."""
    from obstore.store import S3Store

    endpoint, virtual = place(bucket, options, os.environ)
    config: dict[str, Any] = {"virtual_hosted_style_request": virtual, "disable_bulk_delete": True}
    given = {
        # The name that nothing in the environment goes before.
        "aws_endpoint_url_s3": endpoint,
        "region": options.region,
        "skip_signature": options.anonymous or None,
    }
    config.update({name: value for name, value in given.items() if value is not None})
    provider: Any = None
    if options.access_key_id is not None:
        provider = partial(_given, options)
    elif not options.anonymous:
        provider, config = _from_profile(config)
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        client_options=client_options(options, endpoint),
        retry_config=retry_config(options),
        credential_provider=provider,
    )


def place(bucket: str, options: ObjectOptions, environment: Mapping[str, str]) -> tuple[str | None, bool]:
    """Give the endpoint as the engine wants it, with the bucket in it if need be, and whether the host names it."""
    endpoint = options.endpoint or from_environment(_ENDPOINTS, environment)
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
