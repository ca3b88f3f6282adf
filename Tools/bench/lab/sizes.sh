#!/bin/bash
# In dom0: an incremental epoch of a 1 GiB guest against one of a 256 MiB guest with the same dirty set: time and bytes (bars 1.2, 1.1).
set -euo pipefail
. /lab/lib.sh
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
echo "tracking = continuous" >/run/lab/ckpt.conf
export CKPT_CONFIG=/run/lab/ckpt.conf
for memory in 256 1024; do
  guest_start pvh "g$memory" memory="$memory" area=32 rate=5
  ckpt take "g$memory" >/dev/null
  ckpt take "g$memory" >/dev/null
  for run in 1 2 3 4 5; do
    sleep 5
    ckpt take "g$memory" --json >"/run/lab/take.$memory.$run"
  done
  guest_stop "g$memory"
done
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
of() { for run in 1 2 3 4 5; do json_number "$2" <"/run/lab/take.$1.$run"; done | median; }
for figure in total_ms bytes; do
  small=$(of 256 $figure) large=$(of 1024 $figure)
  echo "$figure: 256 MiB $small, 1 GiB $large, ratio $(awk -v a="$large" -v b="$small" 'BEGIN { printf "%.2f", a / b }')"
done
