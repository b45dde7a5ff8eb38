"""Memory: what a process pays for buffers that live for one turn."""

from __future__ import annotations

import subprocess
import sys

# A fresh process: the setting cannot be undone, and other tests have allocated before this one.
PROGRAM = """
import resource
from shardmq.actors.kernel.memory import keep_freed_memory
from shardmq.actors.protocol.batch import Columns, encode_batch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def encode():
    encode_batch(columns, producer_id=1, first_sequence=0, first_born_ms=0, last_born_ms=0)

columns = Columns([bytes(100) + b"%d" % at for at in range(2_500)])
keep_freed_memory()
encode()
before = faults()
for _ in range(50):
    encode()
print(faults() - before)
"""


def test_encoding_batch_after_batch_needs_no_fresh_pages() -> None:
    run = [sys.executable, "-c", PROGRAM]
    faults = int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)
    assert faults < 200, "50 batches of 250 KB in pages of 4 KB would be 3,000 and more"
