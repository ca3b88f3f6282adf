# Sourced by take-restore-pv.sh and take-restore-pvh.sh with the kind of guest; each has a machine of its own.
#
# The main job: three epochs of a working guest, then back to 1, 3 and 2. Two writable disks (one a journalled
# file system) and a read-only one.

main_job() { # KIND
  local kind=$1 root data readonly nonce domid epoch lines answer
  local -A generation_before generation_after
  echo "-- $kind"
  root=$(ckpt disk create "$kind" xvda --size 256M)
  data=$(ckpt disk create "$kind" xvdb --size 64M)
  mkfs.ext4 -q -F "$root"
  readonly=/run/lab/$kind-readonly
  truncate -s 16M "$readonly"
  losetup -f "$readonly"
  readonly=$(losetup -j "$readonly" | cut -d: -f1)
  check "$kind starts" guest_start "$kind" "$kind" \
    disks="phy:$root,xvda,w;phy:$data,xvdb,w;phy:$readonly,xvdc,r"
  nonce=$(guest_nonce "$kind")
  domid=$(guest_domid "$kind")
  lines=$(dmesg | wc -l)
  watch_states "$kind" "/run/lab/$kind.states"

  for epoch in 1 2 3; do
    generation_before[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind epoch $epoch is taken" ckpt take "$kind"
    generation_after[$epoch]=$(answer_field "$(guest_ask "$kind" 60 quick)" gen)
    check "$kind keeps its domid after take $epoch" test "$(guest_domid "$kind")" = "$domid"
    check "$kind is right after take $epoch" guest_is_right "$kind" "$nonce"
    check "$kind works on after take $epoch" guest_goes_on "$kind"
  done
  check "$kind frontends are all connected" all_connected "$kind"
  check "$kind frontends were in no other state meanwhile" only_connected_in "/run/lab/$kind.states"
  check "$kind backends did not reconnect" no_reconnect_since "$lines"
  check "$kind read-only disk is in the epoch, without a snapshot" \
    eval "ckpt show $kind 3 | grep 'disk xvdc' | grep read-only"

  for epoch in 1 3 2; do
    check "$kind goes back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
    answer=$(guest_ask "$kind" 120)
    check "$kind is right in epoch $epoch: $answer" guest_is_right "$kind" "$nonce"
    check "$kind is where it was at epoch $epoch" \
      test "$(answer_field "$answer" gen)" -ge "${generation_before[$epoch]}" \
      -a "$(answer_field "$answer" gen)" -le "$((generation_after[$epoch] + 60))"
    check "$kind works on from epoch $epoch" guest_goes_on "$kind"
    if [[ $epoch == 2 ]]; then
      check "$kind can be taken again" ckpt take "$kind"
      check "$kind is right after that" guest_is_right "$kind" "$nonce"
      check "$kind is taken before it goes back once more" rolled_back "$kind" 1 /run/lab/answers
      check "$kind is back" ckpt undo "$kind" --yes
      check "$kind has all that it did before its end" knows_its_last_words "$kind" /run/lab/answers
      check "$kind is right after that, too" guest_is_right "$kind" "$nonce"
    fi
    guest_stop "$kind"
    check "$kind file system is clean after epoch $epoch" file_system_is_clean "$root"
  done
  check "$kind epoch 6 is the newest" test "$(ckpt list "$kind" --json | grep -c '"epoch"')" = 6
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
main_job "$1"
lab_finish
