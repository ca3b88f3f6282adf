#!/bin/bash
# Twenty epochs of a PVH guest whose log of dirty pages is on during takes only.
# hypervisors: stock
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/epochs.bash pvh per-take
