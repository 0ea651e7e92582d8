"""Memory that is freed stays with the process; libraries leave nothing for the collector."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from cxr_lightning.startup import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    before = faults()
    block = bytearray(2**26)
    for page in range(0, len(block), 4096):
        block[page] = 1
    del block
    print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
@pytest.mark.parametrize("keep", [True, False])
def test_pages_are_mapped_once_where_freed_memory_is_kept(keep: bool) -> None:
    words = [sys.executable, "-c", FAULTS, "keep" if keep else "give back"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    first, second, third = (int(line) for line in done.stdout.split())
    if keep:
        assert first > 10 * max(second, third, 1)
    else:
        assert second > first / 2
        assert third > first / 2


def test_what_libraries_leave_is_frozen_once_and_the_collector_goes_on() -> None:
    program = """
import gc
from cxr_lightning.startup import import_libraries
import_libraries()
frozen = gc.get_freeze_count()
later = [[] for _ in range(100_000)]
import_libraries()
print(frozen > 100_000, gc.get_freeze_count() <= frozen, gc.isenabled())
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
