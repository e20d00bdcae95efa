"""Runs jobs in a pool of threads and gives up at the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait

__all__ = ["run_all"]


def run_all(pool: Executor, jobs: Sequence[Callable[[], object]]) -> None:
    """Runs all jobs; after a failure those not begun are dropped, and the first error is raised."""
    if len(jobs) == 1:
        jobs[0]()
        return
    futures = [pool.submit(job) for job in jobs]
    done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    failed = [future for future in done if future.exception() is not None]
    if failed:
        for future in waiting:
            future.cancel()
        wait(waiting)
        failed[0].result()
