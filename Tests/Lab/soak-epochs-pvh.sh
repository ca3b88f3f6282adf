#!/bin/bash
# Forty epochs of a PVH guest, twenty with the log of dirty pages on all the time, twenty with it on during takes only.
# hypervisors: stock
# time limit: 3600
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pvh continuous 20 per-take 20
