"""Stores of the protocol as stores of pyckpt."""

from __future__ import annotations

from pyckpt.storage.local import LocalStore


def open_store(message):
    """A store, as users open it, but for repeated requests: a fault is met by what is being tested, not by patience."""
    if message["kind"] == "directory":
        return LocalStore(message["path"])
    from pyckpt.storage.objects import ObjectStore
    from pyckpt.storage.objects_options import ObjectOptions

    prefix = (message.get("prefix") or "").rstrip("/")
    options = ObjectOptions(
        endpoint=message["endpoint"],
        region="us-east-1",
        access_key_id="test",
        secret_access_key="test",  # noqa: S106 - the simulator checks no credentials
        addressing="path",
        timeout=20.0,
        retries=0,
    )
    return ObjectStore(f"s3://{message['bucket']}{f'/{prefix}' if prefix else ''}", options)
