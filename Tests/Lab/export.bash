# Sourced by soak-export-pv.sh and export-pvh.sh with the kind of guest; each has a machine of its own.
#
# Exported epochs are files that Xen's own tools accept: its verifier passes them, and a plain `xl restore` starts them.

verified_by_xen() { # FILE
  PYTHONPATH=/usr/lib/xen-4.17/lib/python python3 /usr/lib/xen-4.17/bin/verify-stream-v2 -f xl -i "$1"
}

export_and_restore() { # KIND
  local kind=$1 disk nonce epoch
  disk=$(ckpt disk create "$kind" xvda --size 64M)
  guest_start "$kind" "$kind" memory=128 area=16 rate=2 stamps=5 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind")
  for epoch in 1 2; do
    check "$kind epoch $epoch" ckpt take "$kind"
    sleep 2
  done
  for epoch in 2 1; do
    check "$kind epoch $epoch is exported" ckpt export "$kind" "$epoch" "/run/lab/$kind-$epoch"
    check "$kind export $epoch is for its owner only" test "$(stat -c %a "/run/lab/$kind-$epoch")" = 600
    check "$kind export $epoch passes Xen's verifier" verified_by_xen "/run/lab/$kind-$epoch"
    check "$kind export $epoch to standard output is the same" \
      eval "ckpt export $kind $epoch - | cmp - /run/lab/$kind-$epoch"
    check "$kind disks go back to epoch $epoch" ckpt restore "$kind" "$epoch" --disks-only --yes --no-safety
    check "$kind is started by plain xl restore" xl restore "/run/lab/$kind-$epoch"
    check "$kind is right" guest_is_right "$kind" "$nonce"
    check "$kind works on" guest_goes_on "$kind"
    rm -f "/run/lab/$kind-$epoch"
  done
  guest_stop "$kind"
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
export_and_restore "$1"
lab_finish
