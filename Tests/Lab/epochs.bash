# Sourced by soak-epochs-*.sh with the kind of guest and, for each tracking policy, how many epochs: epochs in a row of a guest under load
# (two vCPUs, memory and disk written all the time), then back to every one of them, in random order.

found_changes_by() { # NAME EPOCH WAY
  ckpt show "$1" "$2" --json | tee /run/lab/shown | grep -q "\"changes\" : \"$3\"" || {
    grep -E '"(changes|reason)"' /run/lab/shown
    return 1
  }
}

take_epochs() { # KIND POLICY COUNT
  local kind=$1 policy=$2 epoch way
  printf "%s\n" "tracking = $policy" "staging = 32M" >/run/lab/ckpt.conf
  for ((epoch = count + 1; epoch <= count + $3; epoch++)); do
    way=$next
    # After this take the log stays on, or not.
    [[ $policy == continuous ]] && next=log || next=compare
    before[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind epoch $epoch is taken ($policy)" ckpt take "$kind"
    after[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind epoch $epoch found its changes by: $way" found_changes_by "$kind" "$epoch" "$way"
  done
  ((count += $3))
}

epochs() { # KIND (POLICY COUNT)…
  local kind=$1 count=0 next=all disk nonce epoch answer
  local -A before after
  shift
  export CKPT_CONFIG=/run/lab/ckpt.conf
  disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  check "$kind starts" guest_start "$kind" "$kind" memory=128 vcpus=2 area=32 rate=8 stamps=10 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind")
  while (($#)); do
    take_epochs "$kind" "$1" "$2"
    shift 2
  done
  check "$kind is right after $count takes" guest_is_right "$kind" "$nonce"
  check "$kind works on" guest_goes_on "$kind"

  for epoch in $(seq "$count" | shuf --random-source=<(yes "$kind")); do
    check "$kind goes back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
    answer=$(guest_ask "$kind" 120)
    check "$kind is right in epoch $epoch: $answer" guest_is_right "$kind" "$nonce"
    check "$kind is where it was at epoch $epoch (${before[$epoch]} to ${after[$epoch]})" \
      test "$(answer_field "$answer" gen)" -ge "${before[$epoch]}" \
      -a "$(answer_field "$answer" gen)" -le "$((${after[$epoch]} + 60))"
  done
  guest_stop "$kind"
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
epochs "$@"
lab_finish
