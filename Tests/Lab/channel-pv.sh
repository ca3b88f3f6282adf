#!/bin/bash
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/channel.bash pv
