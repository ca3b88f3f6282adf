#!/bin/bash
# Forty epochs of a PV guest, twenty with the log of dirty pages on all the time, twenty with it on during takes only.
# hypervisors: shadow
# time limit: 3600
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv continuous 20 per-take 20
