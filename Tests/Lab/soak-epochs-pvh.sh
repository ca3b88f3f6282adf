#!/bin/bash
# Twenty epochs of a PVH guest, ten with the log of dirty pages on all the time, ten with it on during takes only.
# hypervisors: stock
# time limit: 2400
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pvh continuous 10 per-take 10
