#!/bin/bash
# In dom0, for one guest in one boot: pause and stop of `ckpt take`, the stop of `xl save -c`, and the handshake floor.
# Prints the figures as medians of RUNS, and their ratios. Started by Tools/bench/run.
set -euo pipefail
. /lab/lib.sh
kind=$1 memory=$2 runs=$3

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

ckpt pool show main >/dev/null 2>&1 || ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create "$kind" xvda --size 64M)
guest_start "$kind" "$kind" memory="$memory" area=$((memory / 4)) disks="phy:$disk,xvda,w"

for ((run = 1; run <= runs; run++)); do
  ckpt take "$kind" >/dev/null
  ckpt show "$kind" "$run" --json >"/run/lab/take.$run"
  ckpt-bench watch "$kind" --seconds 300 >"/run/lab/watch.$run" &
  witness=$!
  until_true 20 test -s "/run/lab/watch.$run"
  xl save -c "$kind" /var/tmp/xlsave >/dev/null 2>&1
  wait "$witness"
  rm -f /var/tmp/xlsave
  ckpt-bench floor "$kind" --count 3 >"/run/lab/floor.$run"
done
of_takes() { for ((run = 1; run <= runs; run++)); do json_number "$1" <"/run/lab/take.$run"; done | median; }
take_pause=$(of_takes pause_ms) take_stop=$(of_takes stop_ms)
xl_stop=$(sed -n 's/^stop_ms=//p' /run/lab/watch.* | median)
floor_pause=$(sed -n 's/.*floor_pause_ms=\([0-9.]*\).*/\1/p' /run/lab/floor.* | median)
floor_stop=$(sed -n 's/.*floor_stop_ms=\([0-9.]*\).*/\1/p' /run/lab/floor.* | median)
guest_stop "$kind"

echo "$kind, $memory MiB, median of $runs, one boot:"
echo "  ckpt take     pause $take_pause ms, stop $take_stop ms"
echo "  xl save -c    stop $xl_stop ms"
echo "  floor         pause $floor_pause ms, stop $floor_stop ms"
echo "  the stop is $(ratio "$xl_stop" "$take_stop") times shorter than that of xl save -c (bar 5)"
echo "  the pause is $(ratio "$take_pause" "$floor_pause") times the floor's"
