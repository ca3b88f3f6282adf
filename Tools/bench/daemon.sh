#!/bin/bash
# What ckptd costs: a request through it against the same work without it, and the service when it has nothing to do.
#   Tools/bench/daemon.sh [FOLDER with ckptd and ckpt-bench [SECONDS of idleness]]
set -euo pipefail
bin=${1:-$(dirname "${BASH_SOURCE[0]}")/../../.build-lab/release}
seconds=${2:-60}
folder=$(mktemp -d /dev/shm/ckpt-bench-daemon.XXXXXX)
"$bin/ckptd" --socket "$folder/socket" --store "$folder/store" 2>"$folder/log" &
daemon=$!
trap 'kill $daemon; wait $daemon; rm -r "$folder"' EXIT
until grep -q 'ready on' "$folder/log"; do
  kill -0 $daemon 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
  sleep 0.1
done

"$bin/ckpt-bench" daemon "$folder"

# Clock ticks of all its threads, user and system (proc(5), fields 14 and 15 of stat).
ticks() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }
before=$(ticks)
sleep "$seconds"
after=$(ticks)
awk -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" -v seconds="$seconds" \
  -v rss="$(awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status")" 'BEGIN {
    printf "idle daemon cpu_percent=%.3f (bar 0.100) rss_mib=%.1f (bar 40.0) seconds=%d\n", ticks / hertz / seconds * 100, rss / 1024, seconds
  }'
