#!/bin/bash
# Twenty epochs of a PV guest on Debian's hypervisor, which has no log of dirty pages for it.
# hypervisors: stock
# time limit: 1800
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pv auto 20
