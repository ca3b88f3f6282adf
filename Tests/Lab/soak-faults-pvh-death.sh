#!/bin/bash
# Takes of a PVH guest whose processes die, stop or hang, in every phase.
# hypervisors: stock
# time limit: 7200
set -uo pipefail
. /lab/lib.sh
. /lab/faults.bash
faults pvh "kill both stop hang silent" "${fault_phases[*]}"
lab_finish
