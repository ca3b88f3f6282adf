#!/bin/bash
# Takes of a PVH guest that find a full store, a failing disk, a pool that refuses, or may not go on, in every phase.
# hypervisors: stock
# time limit: 7200
set -uo pipefail
. /lab/lib.sh
. /lab/faults.bash
faults pvh "enospc eio dm refuse" "${fault_phases[*]}"
lab_finish
