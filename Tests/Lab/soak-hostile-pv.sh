#!/bin/bash
# hypervisors: stock
# time limit: 1200
set -uo pipefail
. /lab/lib.sh
. /lab/hostile.bash pv wild false_guest ends
