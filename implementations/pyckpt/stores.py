"""Stores of the protocol as stores of pyckpt."""

from __future__ import annotations

from pyckpt.storage.local import LocalStore


def open_store(message):
    """A store."""
    if message["kind"] == "directory":
        return LocalStore(message["path"])
    import s3fs

    from pyckpt.storage.fsspec_store import FsspecStore

    filesystem = s3fs.S3FileSystem(
        key="test",
        secret="test",  # noqa: S106 - the simulator checks no credentials
        endpoint_url=message["endpoint"],
        client_kwargs={"region_name": "us-east-1"},
        config_kwargs={"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, "read_timeout": 20},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = 1
    prefix = message.get("prefix") or ""
    return FsspecStore((filesystem, f"{message['bucket']}/{prefix}".rstrip("/")))
