#!/bin/bash
# A hostile guest of soak-hostile-pvh, the one that lies about its memory.
# hypervisors: stock
# time limit: 1200
set -uo pipefail
. /lab/lib.sh
. /lab/hostile.bash pvh wild
