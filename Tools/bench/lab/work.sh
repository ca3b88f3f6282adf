#!/bin/bash
# In dom0: what a guest gets done while it is taken every 10 s, against none, in both tracking policies. KIND.
# Its walker writes memory as fast as it can; what it wrote in a minute is its work.
set -euo pipefail
. /lab/lib.sh
kind=$1
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
guest_start "$kind" "$kind" memory=256 area=32 rate=10000 disks="phy:$disk,xvda,w"
export CKPT_CONFIG=/run/lab/ckpt.conf
minute=60

position() { # pages written since the start: 32 MiB of them per generation
  local answer
  answer=$(guest_ask "$kind" 60 quick)
  echo $(($(answer_field "$answer" gen) * 8192 + $(answer_field "$answer" cursor)))
}

work() { # POLICY or none: prints pages written per second
  local from to start end
  from=$(position) start=$(date +%s%N)
  if [[ $1 == none ]]; then
    sleep "$minute"
  else
    echo "tracking = $1" >/run/lab/ckpt.conf
    for ((turn = 0; turn < minute / 10; turn++)); do
      ckpt take "$kind" --json >"/run/lab/take.$1.$turn"
      while (($(date +%s%N) < start + (turn + 1) * 10000000000)); do sleep 0.1; done
    done
  fi
  to=$(position) end=$(date +%s%N)
  echo $(((to - from) * 1000000000 / (end - start)))
}

none=$(work none)
echo "$kind, hypervisor $(cat /lab/.hypervisor): pages written per second, an epoch each 10 s"
echo "  without takes $none"
for policy in continuous per-take; do
  rate=$(work "$policy")
  echo "  $policy $rate ($((rate * 100 / none)) %); live copying $(sed -n 's/^ *"precopy" : \([0-9.]*\),*/\1/p' /run/lab/take.$policy.* | sort -n | tail -n 1) ms, longest pause $(sed -n 's/^ *"pause_ms" : \([0-9.]*\),*/\1/p' /run/lab/take.$policy.* | sort -n | tail -n 1) ms"
done
guest_stop "$kind"
