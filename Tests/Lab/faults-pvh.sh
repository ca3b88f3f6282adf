#!/bin/bash
# A few cells of the matrix of faults (soak-faults-*) with a PVH guest: deaths in and before the pause.
# hypervisors: stock
# time limit: 1200
set -uo pipefail
. /lab/lib.sh
. /lab/faults.bash
faults pvh "kill both stop silent" "copy"
lab_finish
