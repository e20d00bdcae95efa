"""The services that the engine speaks to, and what each calls what its user may have to correct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyckpt.errors import UsageError
from pyckpt.storage.objects_azure import connect_azure
from pyckpt.storage.objects_gcs import connect_gcs
from pyckpt.storage.objects_options import ObjectOptions, check_service
from pyckpt.storage.objects_s3 import connect_s3

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

__all__ = ["SERVICES", "Service", "connect"]


@dataclass(frozen=True, slots=True)
class Service:
    """One protocol of object stores."""

    scheme: str
    bucket: str
    """What it calls a bucket."""
    endpoint: str
    """The variable that says where its server is."""
    credentials: str
    """What may be wrong with credentials."""
    connect: Callable[[str, ObjectOptions], S3Store | AzureStore | GCSStore]
    """From bucket and options to the engine's store."""


SERVICES: Final[Mapping[str, Service]] = {
    each.scheme: each
    for each in (
        Service(
            "s3", "bucket", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the region", connect_s3
        ),
        Service(
            "az",
            "container",
            "AZURE_STORAGE_ENDPOINT",
            "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
            connect_azure,
        ),
        Service("gs", "bucket", "GOOGLE_BASE_URL", "GOOGLE_APPLICATION_CREDENTIALS", connect_gcs),
    )
}


def connect(service: Service, bucket: str, options: ObjectOptions) -> S3Store | AzureStore | GCSStore:
    """Give the engine's store of a bucket. UsageError for what it does not take; no request is sent."""
    from obstore.exceptions import BaseError

    url = f"{service.scheme}://{bucket}"
    check_service(options, service.scheme, url)
    try:
        return service.connect(bucket, options)
    except (BaseError, ValueError, OSError) as error:
        reason = " ".join(str(error).split("Debug source", 1)[0].split())
        raise UsageError(
            "usage.invalid",
            f"no store can be opened with these options: {reason}",
            key=url,
            hint=f"see {service.credentials}",
        ) from error
