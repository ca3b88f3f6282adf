# Sourced by adopt-pv.sh and adopt-pvh.sh with the kind of guest; each has a machine of its own.
#
# A guest on plain volumes of LVM that writes without a pause is adopted while it runs; taken, restored, cloned; the host loses its
# power and comes back; restored again, the clone too; released, and booted from the plain volumes. LVM pokes at it meanwhile.

check "udevd starts" start_udevd
state=/var/lib/lab-adopt # what is to be remembered over the power cut

uuid=1ab0ad09-0000-4000-8000-000000000001
start() { # KIND
  guest_start "$1" "$1" uuid=$uuid disks="phy:/dev/vg0/web-root,xvda,w;phy:/dev/vg0/web-data,xvdb,w"
}

volume_has() { # VOLUME OPTION VALUE
  local found
  found=$(lvs --noheadings -o "$2" "vg0/$1" | xargs)
  echo "$found"
  [[ $found == "$3" ]]
}

number_of() { dmsetup info -c --noheadings -o major,minor "$1"; }

# Milliseconds of one `dmsetup suspend; resume` of a device, without a wait for udevd; the middle of five.
suspend_floor() {
  local start
  for _ in 1 2 3 4 5; do
    start=$(date +%s%N)
    dmsetup suspend --noflush --nolockfs "$1"
    dmsetup resume --noudevsync "$1"
    echo $((($(date +%s%N) - start) / 1000))
  done | sort -n | sed -n '3{s/...$/.&/p}'
}

held_is_short() { # FLOOR, and ckpt's JSON on standard input
  awk -v floor="$1" '/"held_ms"/ {gsub(/[^0-9.]/, "", $3); print $3; disks++; if ($3 + 0 > 20 * floor) bad = 1} END {exit bad || disks != 2}'
}

flip_first_byte() { # DEVICE
  local byte
  byte=$(head -c 1 "$1" | od -An -tu1)
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 count=1 conv=notrunc,fsync status=none
}

no_io_error() { ! grep -iE 'I/O error|Buffer I/O|EXT4-fs error' "/var/log/xen/console/guest-$1.log"; }
is_skipped() { ! dmsetup info "$1"; }

back_to() { # KIND NONCE EPOCH
  check "$1 goes back to epoch $3" ckpt restore "$1" "$3" --yes --no-safety
  check "$1 is right in epoch $3" guest_is_right "$1" "$2"
  check "$1 works on from epoch $3" guest_goes_on "$1"
}

# It reads from the old volumes, too, and is there when the power goes.
cloned() { # KIND NONCE
  local kind=$1 nonce=$2
  check "a clone of $kind is planned" eval "ckpt restore $kind latest --as copy --dry-run | grep 'ckpt-copy-xvda.* is made'"
  check "$kind becomes a clone" ckpt restore "$kind" latest --as copy --yes
  check "the clone is right" guest_is_right copy "$nonce"
  check "the clone works on" guest_goes_on copy
  check "the clone is taken" ckpt take copy
  check "the clone is right after it" guest_is_right copy "$nonce"
  check "$kind is right beside it" guest_is_right "$kind" "$nonce"
  check "a release is refused while it is there" refuses 1 "ckpt disk remove copy xvda" ckpt release "$kind" --yes
}

# After the power cut it is brought back, and goes, so that the original can be released.
clone_goes() { # KIND NONCE
  local kind=$1 nonce=$2
  back_to copy "$nonce" latest
  check "the clone had no error" no_io_error copy
  guest_stop copy
  check "disks with epochs stay" refuses 1 "ckpt remove copy 1" ckpt disk remove copy --yes
  check "a release is still refused" refuses 1 "ckpt disk remove copy xvda" ckpt release "$kind" --yes
  check "the clone's epoch goes" ckpt remove copy -1 --yes
  check "and its disks" ckpt disk remove copy --yes
  check "nothing is left of them" eval '! dmsetup ls | grep copy && ! ckpt disk list | grep copy'
}

adopt_and_take() { # KIND
  local kind=$1 nonce domid lines number floor disk=/dev/vg0/web-root
  pvcreate -q /dev/vdc && vgcreate -q vg0 /dev/vdc && lvcreate -qy -L 256M -n web-root vg0 && lvcreate -qy -L 64M -n web-data vg0
  mkfs.ext4 -q -F $disk
  check "a pool in the volume group" ckpt pool create --vg vg0 --size 40% --yes
  check "its volumes: data, metadata, a spare extent" \
    test "$(lvs --noheadings -o lv_name,lv_size --units m @ckpt-pool | xargs)" = \
    "ckpt-main-data 1636.00m ckpt-main-meta 32.00m ckpt-main-spare 4.00m"
  check "more than the group has is refused" refuses 1 "say a smaller --size" ckpt pool create more --vg vg0 --size 100% --yes
  check "and leaves nothing" test "$(lvs --noheadings -o lv_name vg0 | grep -c more)" = 0

  check "$kind starts" start "$kind"
  cp "/run/lab/$kind.cfg" $state/
  nonce=$(guest_nonce "$kind")
  echo "$nonce" >$state/nonce
  domid=$(guest_domid "$kind")
  lines=$(dmesg | wc -l)
  number=$(number_of vg0-web--root)
  watch_states "$kind" "/run/lab/$kind.states"
  floor=$(suspend_floor vg0-web--root)
  check "$kind cannot be taken on plain volumes" refuses 12 "ckpt adopt $kind xvda" ckpt take "$kind"
  check "an unknown disk" refuses 10 "it has xvda, xvdb" ckpt adopt "$kind" xvdz

  check "$kind is adopted" eval "ckpt adopt $kind --config $state/$kind.cfg --json >/run/lab/adopted"
  check "$kind waited $(json_number held_ms </run/lab/adopted) ms, a suspend and resume is $floor ms" \
    held_is_short "$floor" </run/lab/adopted
  check "$kind keeps its device's number" test "$(number_of vg0-web--root)" = "$number"
  check "$kind is right" guest_is_right "$kind" "$nonce"
  check "$kind works on" guest_goes_on "$kind"
  check "$kind had no error" no_io_error "$kind"
  check "LVM is told" volume_has web-root lv_tags,lv_skip_activation "ckpt-origin skip activation"
  check "the configuration is as it was" cmp "/run/lab/$kind.cfg" "$state/$kind.cfg"
  check "twice does nothing" eval "ckpt adopt $kind | grep 'in a pool already'"
  check "the disks are listed" eval "ckpt disk list | xargs | grep 'over $disk'"

  check "$kind epoch 1" ckpt take "$kind"
  check "$kind works on after it" guest_goes_on "$kind"
  check "looking by LVM does no harm" eval "lvs && vgs && pvs && vgchange -q -ay vg0"
  check "$kind epoch 2" ckpt take "$kind"
  check "$kind is right" guest_is_right "$kind" "$nonce"
  check "$kind kept its domid" test "$(guest_domid "$kind")" = "$domid"
  check "$kind frontends are all connected" all_connected "$kind"
  check "$kind frontends were in no other state meanwhile" only_connected_in "/run/lab/$kind.states"
  check "$kind backends did not reconnect" no_reconnect_since "$lines"

  back_to "$kind" "$nonce" 1
  check "$kind epoch 3" ckpt take "$kind"
  check "a release of a running guest's disks is refused" refuses 11 "shut the guest down" ckpt release "$kind" --yes
  cloned "$kind" "$nonce"
  sync
  echo adopted >$state/phase
  sync -f $state
  exit 222
}

after_the_boot() { # KIND
  local kind=$1 nonce
  nonce=$(cat $state/nonce)
  mkdir -p /run/lab
  vgchange -q -ay vg0
  check "LVM leaves the origins alone at boot" is_skipped vg0-web--root
  check "the disks come back" ckpt pool start
  back_to "$kind" "$nonce" 2
  back_to "$kind" "$nonce" 3
  clone_goes "$kind" "$nonce"
  check "$kind is taken again" ckpt take "$kind"
  check "$kind had no error" no_io_error "$kind"
  guest_stop "$kind"

  # With the guest gone, nobody writes past the pool, unless somebody does: the sums of the origin's blocks tell.
  check "LVM puts its own table back" lvchange --refresh vg0/web-root
  flip_first_byte /dev/vg0/web-root
  check "one byte that was changed in the old volume is found" refuses 1 "was written to since it was adopted" ckpt pool start
  check "and keeps epochs from being restored" \
    refuses 1 "was written to since it was adopted" ckpt restore "$kind" 2 --yes --no-safety
  check "by the recorded sums alone" eval '! grep was_passed_by /var/lib/ckpt/pools/main/catalog.json'
  flip_first_byte /dev/vg0/web-root
  check "the byte is put back, and the pool puts its own table" ckpt pool start
  check "$kind boots on it" start "$kind"
  check "$kind is taken" ckpt take "$kind"
  guest_stop "$kind"
}

released() { # KIND
  local kind=$1 before
  sum() { md5sum <"$1"; }
  before=$(sum /dev/mapper/ckpt-"$kind"-xvda)
  check "$kind is released, one disk" ckpt release "$kind" xvdb --yes
  check "and the other" ckpt release "$kind" --yes
  check "its volume holds the newest content" test "$(sum /dev/vg0/web-root)" = "$before"
  check "LVM is told" volume_has web-root lv_tags,lv_skip_activation ""
  check "no device is left" test "$(dmsetup ls | grep -c "ckpt-$kind")" = 0
  check "no disk is left" eval 'ckpt disk list --json >/run/lab/disks && ! grep vdev /run/lab/disks'
  check "an epoch without its disks is not restored" refuses 10 "no pool has disks of epoch 1" ckpt restore "$kind" 1 --yes
  check "the file system is clean" file_system_is_clean /dev/vg0/web-root
  check "$kind boots from the plain volumes" start "$kind"
  check "$kind is right" guest_is_right "$kind" "$(guest_nonce "$kind")"
}

# The guest runs while LVM loads its own table over ours: it writes into the origin from then on.
replaced_while_it_runs() { # KIND
  local kind=$1
  check "$kind is adopted, and its configuration written" \
    ckpt adopt "$kind" xvdb --config "$state/$kind.cfg" --write-config
  check "which names the pool's device" grep "phy:/dev/mapper/ckpt-$kind-xvdb,xvdb" "$state/$kind.cfg"
  check "$kind is adopted wholly" ckpt adopt "$kind"
  check "$kind is taken" ckpt take "$kind"
  check "LVM puts its own table over ours" lvchange --refresh vg0/web-data
  check "the doctor calls it a problem" \
    eval "ckpt doctor >/run/lab/doctor; grep '^problem  guests .*IS NOT OURS ANY MORE' /run/lab/doctor"
  check "and writes nothing down" eval '! grep was_passed_by /var/lib/ckpt/pools/main/catalog.json'
  check "the next take shouts" refuses 12 "IS NOT OURS ANY MORE" ckpt take "$kind"
  check "so does the pool" refuses 1 "IS NOT OURS ANY MORE" ckpt pool start
  sleep 5
  guest_stop "$kind"
  check "the origin was written to" refuses 1 "was written to since it was adopted" ckpt pool start
  check "its epochs are guarded" refuses 1 "was written to since it was adopted" ckpt restore "$kind" 6 --yes
  check "the volume is given up as it is" \
    ckpt release "$kind" xvdb --discard --yes --config "$state/$kind.cfg" --write-config
  check "the pool is well again" ckpt pool start
}

boots_from_what_was_written() { # KIND
  local kind=$1
  cp "$state/$kind.cfg" /run/lab/
  check "$kind boots, a disk of it adopted" guest_boot "$kind"
  check "$kind is adopted, and all of its configuration written" \
    ckpt adopt "$kind" --config "$state/$kind.cfg" --write-config
  guest_stop "$kind"
  cp "$state/$kind.cfg" /run/lab/
  check "which names no volume of LVM" eval "! grep vg0 /run/lab/$kind.cfg"
  check "$kind boots from what was written" guest_boot "$kind"
  check "$kind is right" guest_is_right "$kind" "$(guest_nonce "$kind")"
  check "$kind is taken" ckpt take "$kind"
  check "LVM's own table over the old volume does it no harm" lvchange --refresh vg0/web-data
  check "$kind works on" guest_goes_on "$kind"
  check "and the pool's is put back" ckpt pool start
  check "$kind is taken again" ckpt take "$kind"
  check "$kind is right" guest_is_right "$kind" "$(guest_nonce "$kind")"
  guest_stop "$kind"
}

# The pool goes with what was made for it, and another one of its name comes. So do pools on devices and in files.
pools_go() { # KIND
  local kind=$1 data metadata turn
  check "a pool with epochs stays" refuses 1 "ckpt remove $uuid " ckpt pool remove main --yes
  check "$kind is released, and its configuration led back" \
    ckpt release "$kind" --yes --config "$state/$kind.cfg" --write-config
  cp "$state/$kind.cfg" /run/lab/
  check "which names the volumes of LVM" test "$(grep -o 'phy:/dev/vg0/web-[a-z]*,xvd[ab]' "/run/lab/$kind.cfg" | xargs)" = \
    "phy:/dev/vg0/web-root,xvda phy:/dev/vg0/web-data,xvdb"
  check "$kind boots from what was written" guest_boot "$kind"
  guest_stop "$kind"
  check "it is not removed unasked" refuses 12 "Say --yes" ckpt pool remove main
  check "an empty pool goes" ckpt pool remove main --yes
  check "with its device and its volumes" test -z "$(dmsetup ls | grep ckpt-)$(lvs --noheadings @ckpt-pool)"
  check "it is not there any more" refuses 10 "there is none of this name" ckpt pool remove main --yes
  check "another one of its name comes" ckpt pool create --vg vg0 --size 40% --yes
  check "it takes disks" ckpt disk create other xvda --size 64M
  check "a pool with disks stays" refuses 1 "ckpt disk remove other" ckpt pool remove main --yes

  raw_disk /var/tmp/data 256 && raw_disk /var/tmp/metadata 16
  data=$(losetup -f --show /var/tmp/data) metadata=$(losetup -f --show /var/tmp/metadata)
  for turn in first second; do
    check "a $turn pool on two devices" ckpt pool create fast --data "$data" --metadata "$metadata" --yes
    # Its disk's file system lies at the start of the device.
    mkfs.ext4 -q -F "$(ckpt disk create db xvda --size 64M --pool fast | tail -n 1)" && ckpt disk remove db --yes
    check "it goes" ckpt pool remove fast --yes
  done
  check "a pool in files" ckpt pool create trial --file /var/tmp/trial --size 128M
  check "it goes" ckpt pool remove trial --yes
  check "with its files and their loop devices" test -z "$(ls /var/tmp/trial)$(losetup | grep trial)"
}

mkdir -p $state
if [[ -e $state/phase ]]; then
  after_the_boot "$1"
  released "$1"
  replaced_while_it_runs "$1"
  boots_from_what_was_written "$1"
  pools_go "$1"
else
  adopt_and_take "$1"
fi
lab_finish
