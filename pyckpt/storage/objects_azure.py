"""Containers of Azure's blob storage: account, endpoint, credentials."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.objects_patience import client_options, from_environment, retry_config

if TYPE_CHECKING:
    from obstore.store import AzureStore

__all__ = ["connect_azure"]

_ENDPOINTS: Final = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


def connect_azure(container: str, options: ObjectOptions) -> AzureStore:
    """Give the engine's store of a container; no request is sent."""
    from obstore.store import AzureStore

    endpoint = options.endpoint or from_environment(_ENDPOINTS, os.environ)
    given: dict[str, Any] = {
        "endpoint": endpoint and endpoint.rstrip("/"),
        "account_name": options.account,
        "skip_signature": options.anonymous or None,
    }
    provider: Any = None
    if options.account_key is not None or options.sas_token is not None:
        provider = partial(_given, options)
    return AzureStore(
        container,
        config={name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        client_options=client_options(options, endpoint),
        retry_config=retry_config(options),
        credential_provider=provider,
    )


def _given(options: ObjectOptions) -> dict[str, Any]:
    """Give the secret of the options: as a field, one of the other kind in the environment would go before it."""
    if options.account_key is not None:
        return {"access_key": options.account_key, "expires_at": None}
    return {"sas_token": options.sas_token, "expires_at": None}
