#!/bin/bash
# hypervisors: stock
# time limit: 1200
set -uo pipefail
. /lab/lib.sh
. /lab/hostile.bash pvh wild false_guest ends
