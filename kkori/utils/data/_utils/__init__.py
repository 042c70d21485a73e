"""Where some programs look for collating and for the names of workers."""

from kkori.utils.data import fetch, worker
from kkori.utils.data._utils import collate

__all__ = ["collate", "fetch", "worker"]
