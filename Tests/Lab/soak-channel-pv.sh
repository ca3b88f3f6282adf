#!/bin/bash
# time limit: 900
set -uo pipefail
. /lab/lib.sh
. /lab/channel.bash
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
with_module pv
monitor_survives_channel pv
lab_finish
