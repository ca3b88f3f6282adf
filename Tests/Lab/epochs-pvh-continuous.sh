#!/bin/bash
# Twenty epochs of a PVH guest whose log of dirty pages stays on.
# hypervisors: stock
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pvh continuous
