#!/bin/bash
# The host loses its power while a take of a PVH guest stands in a phase, in every phase.
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/faults.bash
power pvh "${fault_phases[@]}"
lab_finish
