#!/bin/bash
# time limit: 400
set -uo pipefail
. /lab/lib.sh
. /lab/export.bash pv
