#!/bin/bash
# time limit: 600
set -uo pipefail
. /lab/lib.sh
. /lab/probe.bash pvh
