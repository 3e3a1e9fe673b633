"""Memory that is given back stays with the process while a run lasts."""

import platform

import pytest
import torch

from ramify.training.heap import kept_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_was_given_back_is_not_asked_for_again() -> None:
    import resource

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pieces = [torch.ones(2 << 20) for _ in range(12)]  # 96 MiB, 24,576 pages
        del pieces
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with kept_memory():
        counts = [faults() for _ in range(6)]
    assert counts[-1] < 6000, counts
