#!/bin/bash
# Epochs of a PVH guest, first with the log of dirty pages on all the time, then with it on during takes only.
# hypervisors: stock
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pvh continuous 4 per-take 3
