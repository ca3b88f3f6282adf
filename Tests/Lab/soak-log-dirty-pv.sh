#!/bin/bash
# The lab's two hypervisors differ where they shall: only the shadow one logs a PV guest's writes.
# hypervisors: stock shadow
# time limit: 300
set -uo pipefail
. /lab/lib.sh

check "a PV guest starts" guest_start pv pv area=32 rate=8 forks=1
nonce=$(guest_nonce pv)
hypervisor=$(cat /lab/.hypervisor)
if [[ $hypervisor == shadow ]]; then
  check "its writes are logged: more than the walker's, fewer than all" eval \
    'text=$(ckpt-bench dirty pv --seconds 3); echo "$text"; [[ $text =~ ^dirty=([0-9]+)$ ]] && ((BASH_REMATCH[1] > 100 && BASH_REMATCH[1] < 60000))'
  check "and again, after the log was switched off" ckpt-bench dirty pv --seconds 1
else
  check "its writes cannot be logged here" eval 'text=$(ckpt-bench dirty pv 2>&1); echo "$text"; [[ $text == *"has no log for it"* ]]'
fi
check "it is right after that" guest_is_right pv "$nonce"
check "it works on" guest_goes_on pv
guest_stop pv
lab_finish
