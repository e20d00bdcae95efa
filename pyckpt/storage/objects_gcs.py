"""Buckets of Google's cloud storage: endpoint and credentials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.objects_patience import client_options, from_environment, retry_config

if TYPE_CHECKING:
    from obstore.store import GCSStore

__all__ = ["connect_gcs"]

_ENDPOINTS: Final = ("GOOGLE_BASE_URL",)


def connect_gcs(bucket: str, options: ObjectOptions) -> GCSStore:
    """Give the engine's store of a bucket; no request is sent."""
    from obstore.store import GCSStore

    endpoint = options.endpoint or from_environment(_ENDPOINTS, os.environ)
    given: dict[str, Any] = {
        "base_url": endpoint and endpoint.rstrip("/"),
        "service_account": options.service_account,
        "bearer_token": options.bearer_token,
        "skip_signature": options.anonymous or None,
    }
    return GCSStore(
        bucket,
        config={name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        client_options=client_options(options, endpoint),
        retry_config=retry_config(options),
    )
