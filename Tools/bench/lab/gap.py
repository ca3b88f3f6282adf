#!/usr/bin/env python3
"""The longest time in which a guest that stamps its disk all the time was not heard of, as dom0 sees it. In dom0: gap.py DEVICE.

An observer that knows nothing of ckpt: it polls how many writes of the guest's disk are done (Documentation/block/stat.rst) every
few milliseconds, until SIGTERM, and prints the longest gap between two. Without a take that is the stamper's own interval."""
import os
import signal
import sys
import time

number = os.stat(sys.argv[1]).st_rdev
stat = open(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
last, since, longest = None, None, 0.0
while not ended:
    stat.seek(0)
    writes = stat.read().split()[4]
    now = time.monotonic()
    if writes != last:
        if since is not None:
            longest = max(longest, now - since)
        last, since = writes, now
    time.sleep(0.003)
print(f"gap_ms={longest * 1000:.1f}")
