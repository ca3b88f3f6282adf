#!/bin/bash
# time limit: 600
set -uo pipefail
. /lab/lib.sh
. /lab/channel.bash
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
without_module pvh
lab_finish
