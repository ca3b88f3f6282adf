#!/bin/bash
# hypervisors: stock
# time limit: 1500
set -uo pipefail
. /lab/lib.sh
. /lab/hostile.bash pvh wild false_guest deaf ends
