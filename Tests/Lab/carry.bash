# Sourced by soak-carry-pv.sh and soak-carry-pvh.sh with the kind of guest; each has a machine of its own, and then another one.
#
# Epochs go to another host: one as a whole, three as changes. The second host (status 223: a new root, new disks for the pool) has nothing of the
# first but the disk that the files are carried on, /dev/vde. Bundles that are cut or broken are refused there, and gone on with here.

carried=/run/lab/carried
last=4

number_of() { json_number "$1" <"$carried/report-$2"; } # KEY EPOCH
size_of() { stat -c %s "$1"; }
carry_devices() { dmsetup ls | grep -c '^ckpt-carry-' || true; }
metadata_is_free() { [[ $(dmsetup status ckpt-main-pool | awk '{print $7}') == - ]]; }
nothing_is_left() { # of an import that was refused, on a host that has no epoch of the guest
  find /var/lib/ckpt -path '*/????????-*' -print | tee /run/lab/left
  [[ ! -s /run/lab/left && $(carry_devices) == 0 && $(ckpt pool show main --json | json_number snapshots) == 0 ]]
}

export_of() { # KIND EPOCH FILE WORD…
  local kind=$1 epoch=$2 file=$3 since=()
  shift 3
  ((epoch == 1)) || since=(--since $((epoch - 1)))
  ckpt export "$kind" "$epoch" "$file" --bundle "${since[@]}" "$@"
}

is_small() { # EPOCH: its disks take hardly more than the blocks that changed, all of it than what is in it
  local disks=$(($(number_of disk_bytes "$1") + $(number_of unmapped_bytes "$1"))) pages=$(($(number_of pages "$1") * 4096))
  echo "disks: $(number_of disk_file_bytes "$1") for $disks; all: $(number_of bytes "$1") for $((disks + pages))"
  (($(number_of disk_file_bytes "$1") * 100 <= disks * 105 && $(number_of bytes "$1") * 100 <= (disks + pages) * 105))
}
blocks_are_those_of_diff() { # KIND EPOCH
  local changed
  changed=$(ckpt diff "$1" $(($2 - 1)) "$2" --json |
    python3 -c 'import json, sys; print(sum(d["changed"] + d["added"] for d in json.load(sys.stdin)["disks"]) * 65536)')
  echo "diff: $changed, bundle: $(number_of disk_bytes "$2")"
  [[ $changed == "$(number_of disk_bytes "$2")" ]]
}

broken_off() { # KIND EPOCH: cut at random, and gone on with
  local kind=$1 epoch=$2 whole=$carried/epoch-$2 place count
  for ((count = 0; count < 5; count++)); do
    place=$((RANDOM * 32768 + RANDOM)) place=$((place % $(size_of "$whole")))
    cp "$whole" $carried/cut
    truncate -s $place $carried/cut
    check "$kind export $epoch that is cut at $place is gone on with" export_of "$kind" "$epoch" $carried/cut --resume
    check "$kind and is what it was to be" cmp $carried/cut "$whole"
  done
  check "$kind one that is whole stays so" export_of "$kind" "$epoch" $carried/cut --resume
  check "$kind and is still the same" cmp $carried/cut "$whole"
  check "$kind no file is written over" refuses 12 '--resume' export_of "$kind" "$epoch" $carried/cut
  check "$kind a bundle of another epoch is not gone on with" refuses 12 'another' ckpt export "$kind" 1 $carried/cut --bundle --resume
  rm -f $carried/cut
  timeout -s KILL 1 ckpt export "$kind" "$epoch" $carried/cut --bundle
  check "$kind what a killed export left is found" ckpt recover
  check "$kind and nothing of it stays" test "$(carry_devices)" = 0
  [[ -e $carried/cut ]] || : >$carried/cut
  check "$kind it is gone on with, as a whole" ckpt export "$kind" "$epoch" $carried/cut --bundle --resume
  check "$kind the pool's metadata is nobody's" metadata_is_free
  rm -f $carried/cut
}

# What an epoch has: memory and registers, and each disk. Takes no word of ckpt's for it.
content_of() { # KIND EPOCH
  local device vdev
  ckpt export "$1" "$2" - --format core | sha256sum
  for vdev in xvda xvdb; do
    device=$(ckpt mount "$1" "$2" "$vdev" | tail -n 1)
    dd if="$device" bs=1M iflag=direct status=none | sha256sum
  done
  ckpt umount --all >/dev/null
}

spoil() { # what the second host is to refuse: of the whole epoch, and of a change
  local count place epoch
  for count in 1 2 3 4 delta-1 delta-2 delta-3; do
    epoch=1
    [[ $count != delta-* ]] || epoch=3
    place=$((RANDOM * 32768 + RANDOM)) place=$((place % $(size_of $carried/epoch-$epoch)))
    cp $carried/epoch-$epoch $carried/cut-$count
    truncate -s $place $carried/cut-$count
    cp $carried/epoch-$epoch $carried/flipped-$count
    python3 - $carried/flipped-$count $place <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 0x10]))
PYTHON
  done
}

saved_by_xl() { # KIND NONCE
  local kind=$1
  check "$kind is saved by xl" xl save "$kind" $carried/saved
  check "$kind what xl saved becomes an epoch" eval "ckpt import $carried/saved --json | tee /run/lab/imported | grep '\"epoch\" : $((last + 1))'"
  check "$kind and it is said that disks are not in it" grep -q 'not in a file of xl save' /run/lab/imported
  check "$kind and again before it is restored" \
    eval "ckpt restore $kind $((last + 1)) --dry-run | grep 'xvda.* is NOT part of the epoch'"
  check "$kind a clone on the same disks is refused" \
    refuses 12 'it came from xl save' ckpt restore "$kind" $((last + 1)) --as copy
  check "$kind it starts" ckpt restore "$kind" $((last + 1)) --yes --no-safety
  check "$kind is right" guest_is_right "$kind" "$2"
  check "$kind works on" guest_goes_on "$kind"
  rm -f $carried/saved
  [[ $kind != pv ]] || saved_by_an_old_xl "$@"
}

# No Xen before 4.6 is at hand, so that what xl saved today is written as that one did; Xen's own converter is the one of the host. PVH is
# younger than that form.
saved_by_an_old_xl() { # KIND NONCE
  local kind=$1 epoch=$((last + 2))
  check "$kind is saved by xl" xl save "$kind" $carried/saved
  check "$kind in the form of before Xen 4.6" python3 /lab/legacy-save.py $carried/saved $carried/legacy
  check "$kind becomes an epoch" eval "ckpt import $carried/legacy --json | grep '\"epoch\" : $epoch'"
  check "$kind it starts" ckpt restore "$kind" $epoch --yes --no-safety
  check "$kind is right" guest_is_right "$kind" "$2"
  check "$kind works on" guest_goes_on "$kind"
  check "$kind is taken" ckpt take "$kind"
  check "$kind goes back to that" ckpt restore "$kind" latest --yes --no-safety
  check "$kind is right" guest_is_right "$kind" "$2"
  check "$kind what is cut short is refused" eval "truncate -s -5000 $carried/legacy && refuses 12 'failed with status' ckpt import $carried/legacy"
  rm -f $carried/saved $carried/legacy
}

end_export() { # SIGNAL KIND EPOCH: once it has a disk's device, if it can be caught so; its status
  local carrier
  ckpt export "$2" "$3" $carried/ended --bundle &
  carrier=$!
  while kill -0 $carrier 2>/dev/null && [[ $(carry_devices) == 0 ]]; do sleep 0.02; done
  kill -"$1" $carrier 2>/dev/null
  wait $carrier
}

ended_exports() { # KIND: epoch 1 goes
  local kind=$1 status
  end_export TERM "$kind" 2
  status=$?
  check "$kind an export that is told to stop ends so (status $status)" test $status = 130 -o $status = 0
  check "$kind and leaves no device" test "$(carry_devices)" = 0
  check "$kind nor the pool's metadata" metadata_is_free
  rm -f $carried/ended
  end_export KILL "$kind" 1
  check "$kind what a killed export left keeps no epoch from going" ckpt prune "$kind" --keep-last $last --yes
  check "$kind the epoch is gone" refuses 10 'has no epoch 1' ckpt show "$kind" 1
  check "$kind and what was left with it" test "$(carry_devices)" = 0
  rm -f $carried/ended
}

first_host() { # KIND: does not come back
  local kind=$1 root data nonce epoch
  mkfs.ext4 -q -F /dev/vde
  mount /dev/vde $carried
  ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
  root=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  data=$(ckpt disk create "$kind" xvdb --size 64M | tail -n 1)
  mkfs.ext4 -q -F "$root"
  check "$kind starts" guest_start "$kind" "$kind" memory=128 area=16 rate=4 stamps=20 disks="phy:$root,xvda,w;phy:$data,xvdb,w"
  nonce=$(guest_nonce "$kind")
  for ((epoch = 1; epoch <= last; epoch++)); do
    answer_field "$(guest_ask "$kind" 60 quick)" gen >$carried/before-$epoch
    check "$kind epoch $epoch" ckpt take "$kind"
    answer_field "$(guest_ask "$kind" 60 quick)" gen >$carried/after-$epoch
    sleep 3
  done
  ckpt tag "$kind" 2 second >/dev/null
  ckpt note "$kind" 2 "carried along" >/dev/null
  for ((epoch = 1; epoch <= last; epoch++)); do
    check "$kind epoch $epoch goes into a bundle" eval "export_of $kind $epoch $carried/epoch-$epoch --json >$carried/report-$epoch"
    check "$kind bundle $epoch is for its owner only" test "$(stat -c %a $carried/epoch-$epoch)" = 600
    check "$kind bundle $epoch through a pipe is the same" eval "export_of $kind $epoch - | cmp - $carried/epoch-$epoch"
    check "$kind bundle $epoch is small: $(is_small $epoch)" is_small $epoch
    ((epoch == 1)) || check "$kind bundle $epoch has the blocks that changed" blocks_are_those_of_diff "$kind" $epoch
    content_of "$kind" $epoch >$carried/content-$epoch
    check "$kind works on meanwhile" guest_goes_on "$kind"
  done
  check "$kind the epochs have $last contents" \
    eval 'cat $carried/content-* | tee /run/lab/contents && [[ $(head -qn 1 $carried/content-* | sort -u | wc -l) == $last ]]'
  check "$kind nothing is left of the exports" test "$(carry_devices)" = 0
  check "$kind the pool's metadata is nobody's" metadata_is_free
  broken_off "$kind" 3
  spoil
  check "$kind is right" guest_is_right "$kind" "$nonce"
  saved_by_xl "$kind" "$nonce"
  ended_exports "$kind"
  guest_stop "$kind"
  echo "$nonce" >$carried/nonce
  echo "$lab_failed" >$carried/failed
  umount $carried
  exit 223
}

refused_files() { # KIND
  local kind=$1 file
  check "$kind changes are refused without their base" refuses 10 'import epoch 2 first' ckpt import $carried/epoch-3
  check "$kind nothing is left" nothing_is_left
  for file in $carried/cut-? $carried/flipped-?; do
    check "$kind ${file##*/} is refused" refuses 1 'nothing was imported' ckpt import "$file"
    check "$kind nothing is left" nothing_is_left
  done
  timeout -s KILL 1 ckpt import $carried/epoch-1
  check "$kind what a killed import left is taken away" ckpt recover
  check "$kind no device is" test "$(carry_devices)" = 0
}

what_is_here() { # KIND
  find /var/lib/ckpt -path '*/????????-*' -printf '%P %s\n' | sort
  ckpt list "$1"
  echo "$(carry_devices) devices, $(ckpt pool show main --json | json_number snapshots) snapshots"
}

refused_changes() { # KIND: epochs 1 and 2 are here
  local kind=$1 file before
  before=$(what_is_here "$kind")
  for file in $carried/cut-delta-? $carried/flipped-delta-?; do
    check "$kind ${file##*/} is refused" refuses 1 'nothing was imported' ckpt import "$file"
    check "$kind nothing of it is left" test "$(what_is_here "$kind")" = "$before"
  done
}

second_host() { # KIND
  local kind=$1 nonce epoch answer
  nonce=$(cat $carried/nonce)
  check "$kind the first host had no failure" test "$(cat $carried/failed)" = 0
  check "$kind nothing of the guest is here" refuses 10 '' ckpt list "$kind"
  ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
  refused_files "$kind"
  for ((epoch = 1; epoch <= last; epoch++)); do
    ((epoch != 3)) || refused_changes "$kind"
    if ((epoch == 2)); then
      check "$kind bundle $epoch comes through a pipe" eval "cat $carried/epoch-$epoch | ckpt import -"
    else
      check "$kind bundle $epoch comes" ckpt import $carried/epoch-$epoch
    fi
  done
  check "$kind what is here already is told" eval "ckpt import $carried/epoch-3 | grep 'is here already'"
  check "$kind all are whole" ckpt verify "$kind" --full
  for ((epoch = 1; epoch <= last; epoch++)); do
    check "$kind epoch $epoch has the memory, registers and disks that it had there" \
      eval "content_of $kind $epoch | diff - $carried/content-$epoch"
  done
  check "$kind tags and notes came along" eval "ckpt show $kind second | grep 'carried along'"
  for epoch in $(seq "$last" | shuf --random-source=<(yes "$kind")); do
    check "$kind starts from epoch $epoch where it never was" ckpt restore "$kind" "$epoch" --yes --no-safety
    answer=$(guest_ask "$kind" 120)
    check "$kind is right in epoch $epoch: $answer" guest_is_right "$kind" "$nonce"
    check "$kind is where it was at epoch $epoch ($(cat $carried/before-$epoch) to $(cat $carried/after-$epoch))" \
      test "$(answer_field "$answer" gen)" -ge "$(cat $carried/before-$epoch)" \
      -a "$(answer_field "$answer" gen)" -le $(($(cat $carried/after-$epoch) + 60))
    check "$kind works on" guest_goes_on "$kind"
  done
  check "$kind is taken here" ckpt take "$kind"
  check "$kind goes back to that" ckpt restore "$kind" latest --yes --no-safety
  check "$kind is right" guest_is_right "$kind" "$nonce"
  check "$kind all are whole" ckpt verify "$kind" --full
  guest_stop "$kind"
}

mkdir -p $carried
if mount -o ro /dev/vde $carried 2>/dev/null && [[ -e $carried/nonce ]]; then
  second_host "$1"
else
  first_host "$1"
fi
lab_finish
