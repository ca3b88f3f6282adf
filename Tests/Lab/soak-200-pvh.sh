#!/bin/bash
# 200 epochs of a PVH guest under load, by ckptd's schedule at the shortest interval, then back to any five of them.
# time limit: 2400
set -uo pipefail
. /lab/lib.sh

epochs=200
log=/run/lab/ckptd.log
export CKPT_SOCKET=/run/ckpt/ckptd.sock
taken() { ckpt schedule list web --json | json_number last_epoch; }
has_taken() { local last; last=$(taken); ((${last:-0} >= $1)); }

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create web xvda --size 64M | tail -n 1)
check "the guest starts" guest_start pvh web memory=128 area=16 rate=2 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce web)
ckptd >$log 2>&1 &
daemon=$!
check "the daemon starts" until_true 60 grep -q 'ready on' $log
check "an epoch each second" ckpt schedule set web --every 1s
for ((count = 20; count <= epochs; count += 20)); do
  generation=$(answer_field "$(guest_ask web 60 quick)" gen)
  check "$count epochs, the guest in generation $generation" until_true 240 has_taken $count
  echo "      | daemon: $(grep VmRSS /proc/$daemon/status | xargs), $(ls /proc/$daemon/fd | wc -l) open files"
done
ckpt schedule list web
check "none failed" test "$(ckpt schedule list web --json | json_number failed)" = 0
check "no more" ckpt schedule remove web
until_true 60 eval '! ckpt status --json | grep -q "\"kind\" : \"take\""'
check "the guest is right" guest_is_right web "$nonce"
check "all are whole" ckpt verify web
needed() { ckpt show web "$1" --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["needs"]))'; }
check "epoch 90 needs the files of many: $(needed 90)" test "$(needed 90)" -gt 20
check "the last one needs a hundred at most: $(needed $epochs), and stored $(ckpt show web $epochs --json | json_number relocated_pages) pages again" \
  test "$(needed $epochs)" -le 100
for epoch in $(seq $epochs | shuf -n 5); do
  check "back to epoch $epoch" ckpt restore web "$epoch" --yes --no-safety
  check "the guest is right in epoch $epoch" guest_is_right web "$nonce"
  check "and works on" guest_goes_on web
done
kill -TERM $daemon
wait $daemon
guest_stop web
lab_finish
