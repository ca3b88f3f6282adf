# Sourced by epochs-*.sh with the kind of guest and the tracking policy: twenty epochs in a row of a guest under load (two
# vCPUs, processes that come and go, memory and disk written all the time), then back to every one of them, in random order.

way_of_changes() { # KIND POLICY EPOCH: how this epoch's changes must have been found
  if (($3 == 1)); then
    echo all
  elif [[ $1 == pvh || $(cat /lab/.hypervisor) == shadow ]] && [[ $2 == continuous ]]; then
    echo log
  else
    echo compare
  fi
}

found_changes_by() { # NAME EPOCH WAY
  ckpt show "$1" "$2" --json | tee /run/lab/shown | grep -q "\"changes\" : \"$3\"" || {
    grep -E '"(changes|reason)"' /run/lab/shown
    return 1
  }
}

epochs() { # KIND POLICY COUNT
  local kind=$1 policy=$2 count=$3 disk nonce epoch answer
  local -A before after
  echo "tracking = $policy" >/run/lab/ckpt.conf
  export CKPT_CONFIG=/run/lab/ckpt.conf
  disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  check "$kind starts" guest_start "$kind" "$kind" memory=160 vcpus=2 area=48 rate=8 forks=1 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind")
  for ((epoch = 1; epoch <= count; epoch++)); do
    before[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind epoch $epoch is taken" ckpt take "$kind"
    after[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind epoch $epoch found its changes the way it shall" \
      found_changes_by "$kind" "$epoch" "$(way_of_changes "$kind" "$policy" "$epoch")"
  done
  check "$kind is right after $count takes" guest_is_right "$kind" "$nonce"
  check "$kind works on" guest_goes_on "$kind"

  for epoch in $(seq "$count" | shuf --random-source=<(yes "$kind $policy")); do
    check "$kind goes back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes
    answer=$(guest_ask "$kind" 120)
    check "$kind is right in epoch $epoch: $answer" guest_is_right "$kind" "$nonce"
    check "$kind is where it was at epoch $epoch (${before[$epoch]} to ${after[$epoch]})" \
      test "$(answer_field "$answer" gen)" -ge "${before[$epoch]}" \
      -a "$(answer_field "$answer" gen)" -le "$((after[epoch] + 60))"
  done
  guest_stop "$kind"
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
epochs "$1" "$2" 20
lab_finish
