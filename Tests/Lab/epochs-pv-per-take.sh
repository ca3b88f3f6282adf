#!/bin/bash
# Twenty epochs of a PV guest; on Debian's hypervisor, which has no log of dirty pages for it, as well.
# hypervisors: stock shadow
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv per-take
