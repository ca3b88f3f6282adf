#!/bin/bash
# In dom0, for one guest in one boot: pause and stop of `ckpt take`, the stop of `xl save -c`, and the handshake floor.
# Prints the figures as medians of RUNS, and their ratios; beside the pause the longest gap that an observer of the guest's disk
# saw, and the engine's memory. Started by Tools/bench/run, with gap.py and peak.py: KIND MEMORY-MIB RUNS POLICY BAR.
#
# Before the takes that count one is made, so that they have an epoch to build on. xl save -c switches the log of dirty pages
# off, so all takes come before it. The guest writes 5 MB/s.
set -euo pipefail
. /lab/lib.sh
kind=$1 memory=$2 runs=$3 policy=$4 bar=$5

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

ckpt pool show main >/dev/null 2>&1 || ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
guest_start "$kind" "$kind" memory="$memory" area=$((memory / 4)) rate=5 stamps=50 disks="phy:$disk,xvda,w"
echo "tracking = $policy" >/run/lab/ckpt.conf
export CKPT_CONFIG=/run/lab/ckpt.conf

ckpt take "$kind" >/dev/null
observed() { # NAME COMMAND…: runs it, with the observer's longest gap in /run/lab/NAME
  local name=$1 observer
  shift
  python3 /lab/gap.py "$disk" >"/run/lab/$name" &
  observer=$!
  "$@"
  sleep 1
  kill "$observer"
  wait "$observer"
}

observed gap.0 sleep 10
for ((run = 1; run <= runs; run++)); do
  sleep 2
  # Under the same observer, which costs dom0 some of its time.
  observed "floorgap.$run" ckpt-bench floor "$kind" --count 1 >"/run/lab/floor.$run"
  sleep 2
  observed "gap.$run" python3 /lab/peak.py "/run/lab/peak.$run" ckpt take "$kind" --json >"/run/lab/take.$run"
done
# Every live copy empties the log once before the request; this is the floor of a guest in that state. It takes from the log, so after
# all takes.
[[ $policy != continuous ]] || ckpt-bench floor "$kind" --count "$runs" --after-clean >/run/lab/cleanfloor
for ((run = 1; run <= (runs + 1) / 2; run++)); do
  ckpt-bench watch "$kind" --seconds 300 >"/run/lab/watch.$run" &
  witness=$!
  until_true 20 test -s "/run/lab/watch.$run"
  xl save -c "$kind" /var/tmp/xlsave >/dev/null 2>&1
  wait "$witness"
  rm -f /var/tmp/xlsave
done
of_takes() { for ((run = 1; run <= runs; run++)); do json_number "$1" <"/run/lab/take.$run"; done | median; }
take_pause=$(of_takes pause_ms) take_stop=$(of_takes stop_ms)
xl_stop=$(sed -n 's/^stop_ms=//p' /run/lab/watch.* | median)
floor_pause=$(sed -n 's/.*floor_pause_ms=\([0-9.]*\).*/\1/p' /run/lab/floor.* | median)
floor_stop=$(sed -n 's/.*floor_stop_ms=\([0-9.]*\).*/\1/p' /run/lab/floor.* | median)
clean_floor=$(sed -n 's/^floor_pause_ms=\([0-9.]*\).*/\1/p' /run/lab/cleanfloor 2>/dev/null || true)
gap=$(for ((run = 1; run <= runs; run++)); do sed -n 's/^gap_ms=//p' "/run/lab/gap.$run"; done | median)
# What the engine needs beyond its 128 MiB of staging RAM and 16 bytes a page.
peak=$(for ((run = 1; run <= runs; run++)); do cat "/run/lab/peak.$run"; done | sort -n | tail -n 1)
beyond=$((peak / 1024 - 128 - memory * 256 * 16 / 1048576))
guest_stop "$kind"

echo "$kind, $memory MiB, $policy tracking, hypervisor $(cat /lab/.hypervisor), median of $runs, one boot:"
echo "  ckpt take     pause $take_pause ms, stop $take_stop ms, changes found by $(sed -n 's/.*"changes" : "\(.*\)".*/\1/p' /run/lab/take.1)"
echo "  xl save -c    stop $xl_stop ms"
echo "  floor         pause $floor_pause ms, stop $floor_stop ms"
echo "  an observer of the guest's disk heard nothing of it for $gap ms at most ($(sed -n 's/^gap_ms=//p' /run/lab/gap.0) ms without a take)"
echo "  the engine's memory beyond staging and 16 bytes a page: $beyond MiB (bar 64)"
echo "  the stop is $(ratio "$xl_stop" "$take_stop") times shorter than that of xl save -c (bar $bar)"
echo "  the pause is $(ratio "$take_pause" "$floor_pause") times the floor's (bar 1.6 where the hypervisor has a log)"
[[ -z $clean_floor ]] || echo "  it is $(ratio "$take_pause" "$clean_floor") times that of a floor whose log was emptied right before, $clean_floor ms"
echo "  the stop is made of (ms, medians; copy and disks side by side):"
for part in request freeze; do
  echo "    before it: $part $(of_takes $part)"
done
for part in copy disks copy_begin copy_freeze_end copy_log copy_settle copy_mapping copy_pages copy_state disks_suspend disks_create_snap disks_resume resume; do
  echo "    $part $(of_takes $part)"
done
