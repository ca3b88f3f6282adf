#!/bin/bash
# In dom0: a clone of an epoch until it runs, against `xl restore` of the same image (bar 1.1). By turns, the middle of five.
# The argument is the guest's memory in MiB.
set -euo pipefail
. /lab/lib.sh
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create pvh xvda --size 64M | tail -n 1)
guest_start pvh pvh memory="$1" area=64 rate=5 disks="phy:$disk,xvda,w"
ckpt take pvh >/dev/null
ckpt export pvh 1 /run/lab/image
xl destroy pvh

seconds() { # COMMAND…
  local start
  start=$(date +%s%N)
  "$@" >/run/lab/said 2>/run/lab/err
  echo $((($(date +%s%N) - start) / 1000000))
}
for run in 1 2 3 4 5; do
  seconds xl restore /run/lab/image >>/run/lab/xl.ms
  xl destroy pvh
  seconds ckpt restore pvh 1 --as "clone$run" --yes >>/run/lab/clone.ms
  xl destroy "clone$run"
done
median() { sort -n "$1" | sed -n 3p; }
xl_ms=$(median /run/lab/xl.ms) clone_ms=$(median /run/lab/clone.ms)
echo "a guest of $1 MiB, clone to running: $clone_ms ms, xl restore of the same image: $xl_ms ms, ratio $(awk -v a="$clone_ms" -v b="$xl_ms" 'BEGIN { printf "%.2f", a / b }') (bar 1.1)"
cat /run/lab/said
