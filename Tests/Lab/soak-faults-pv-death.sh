#!/bin/bash
# Takes of a PV guest whose processes die, stop or hang, in every phase.
# hypervisors: stock
# time limit: 7200
set -uo pipefail
. /lab/lib.sh
. /lab/faults.bash
faults pv "kill both stop hang silent" "${fault_phases[*]}"
lab_finish
