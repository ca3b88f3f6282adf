#!/bin/bash
# time limit: 1200
set -uo pipefail
. /lab/lib.sh
. /lab/from.bash pv
