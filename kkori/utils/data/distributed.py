"""The distributed sampler, under the module name programs know."""

from kkori.utils.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
