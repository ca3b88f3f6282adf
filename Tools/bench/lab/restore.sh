#!/bin/bash
# In dom0: a restore of the newest of 200 epochs, up to the running guest, against one of a full epoch of the same guest (bar 1.1). By
# turns, the middle of five.
set -euo pipefail
. /lab/lib.sh
export CKPT_CONFIG=/run/lab/ckpt.conf
echo "tracking = continuous" >$CKPT_CONFIG
guest_start pvh pvh memory=256 area=64 rate=5
ckpt-bench epochs pvh --count 200 --every 0 --config $CKPT_CONFIG >/run/lab/epochs
# What it changes between the two is what a second of its work is.
CKPT_STORE=/var/lib/ckpt-full ckpt take pvh >/dev/null
needs=$(tail -n 1 /run/lab/epochs | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["needs"]))')
xl destroy pvh

restored() { # STORE EPOCH RUN
  local start
  start=$(date +%s%N)
  CKPT_STORE=$1 ckpt restore pvh "$2" --yes --json >"/run/lab/said.$2.$3"
  echo $((($(date +%s%N) - start) / 1000000))
  xl destroy pvh
}
for run in 1 2 3 4 5; do
  restored /var/lib/ckpt 200 $run >>/run/lab/newest.ms
  restored /var/lib/ckpt-full 1 $run >>/run/lab/full.ms
done
median() { sort -n "$1" | sed -n 3p; }
steps() { python3 -c 'import json, sys; print(*("%s %.0f" % step for step in json.load(open(sys.argv[1]))["steps"].items()), sep=", ")' "$1"; }
newest=$(median /run/lab/newest.ms) full=$(median /run/lab/full.ms)
echo "restore of the newest of 200 epochs, which needs $needs others: $newest ms, of a full epoch: $full ms, ratio $(awk -v a="$newest" -v b="$full" 'BEGIN { printf "%.2f", a / b }') (bar 1.1)"
echo "the last of each, ms: $(steps /run/lab/said.200.5); $(steps /run/lab/said.1.5)"
