#!/bin/bash
# A PV guest between and during takes: other tools, killed and failed takes, a balloon, a load that pre-copy cannot follow.
# hypervisors: stock shadow
# time limit: 1500
set -uo pipefail
. /lab/lib.sh
. /lab/changes.bash pv
