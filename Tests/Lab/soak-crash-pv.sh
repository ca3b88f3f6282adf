#!/bin/bash
# time limit: 3000
# symbols: vmlinux
set -uo pipefail
. /lab/lib.sh
. /lab/crash.bash pv
