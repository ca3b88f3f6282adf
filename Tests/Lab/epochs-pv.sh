#!/bin/bash
# Epochs of a PV guest, first with the log of dirty pages on all the time, then with it on during takes only.
# hypervisors: shadow
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv continuous 4 per-take 3
