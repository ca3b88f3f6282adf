#!/bin/bash
# Twenty epochs of a PV guest whose log of dirty pages stays on.
# hypervisors: shadow
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv continuous
