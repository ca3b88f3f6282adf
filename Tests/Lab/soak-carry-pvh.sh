#!/bin/bash
# time limit: 1800
set -uo pipefail
. /lab/lib.sh
. /lab/carry.bash pvh
