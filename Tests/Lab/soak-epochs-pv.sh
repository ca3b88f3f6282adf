#!/bin/bash
# Twenty epochs of a PV guest, ten with the log of dirty pages on all the time, ten with it on during takes only.
# hypervisors: shadow
# time limit: 2400
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv continuous 10 per-take 10
