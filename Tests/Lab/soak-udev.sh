#!/bin/bash
# As on a host: with udevd beside device-mapper. What ckpt makes and removes is neither probed nor held, no link is left behind, and none
# shows the content of an epoch in place of the disk that it is of. LVM works as it does with udevd.
# time limit: 900
set -uo pipefail
. /lab/lib.sh

probed() { # what udevd read from the content of our devices
  local node
  for node in /sys/class/block/dm-*; do
    [[ $(<"$node/dm/name") != ckpt-* ]] || udevadm info --query=property --path="$node" | grep -E '^ID_(FS|PART)' | sed "s/^/$(<"$node/dm/name") /"
  done
}
nothing_was_probed() { [[ -z $(probed) ]] || { probed; return 1; }; }
stale_links() { find /dev/mapper /dev/disk /dev/vg0 -xtype l 2>/dev/null; }
no_link_is_stale() { [[ -z $(stale_links) ]] || { stale_links; return 1; }; }
nodes_are_right() { # each device of ours has its node, and each node its device
  diff <(dmsetup ls | sed -n 's/^\(ckpt-[^\t ]*\)[\t ]*(\(.*\))$/\1 \2/p' | tr -d ' ' | sort) \
    <(for node in /dev/mapper/ckpt-*; do [[ ! -b $node ]] || printf '%s%d:%d\n' "${node##*/}" $(stat -Lc '0x%t 0x%T' "$node"); done | sort)
}
all_epochs_go() { ckpt remove "$1" $(epochs_of "$1") --yes; } # NAME
by_content_leads_to() { # UUID DEVICE
  readlink -f "/dev/disk/by-uuid/$1"
  [[ $(readlink -f "/dev/disk/by-uuid/$1") == $(readlink -f "$2") ]]
}
# What LVM activates of a guest's own volume groups would open its disk under its hands.
no_group_of_a_guest_is_active() { ! dmsetup ls | grep inside; }
disk_with_a_group() { # DEVICE
  local loop
  raw_disk /var/tmp/inside "$(($(blockdev --getsize64 "$1") >> 20))" && loop=$(losetup -f --show /var/tmp/inside) &&
    pvcreate -q "$loop" && vgcreate -q inside "$loop" && lvcreate -qy -L 8M -n root inside && vgchange -q -an inside &&
    losetup -d "$loop" && udevadm settle --timeout=60 && dd if=/var/tmp/inside of="$1" bs=1M conv=fsync status=none
}
tidy() { # WHEN
  udevadm settle --timeout=60
  check "$1: nothing of ours was probed" nothing_was_probed
  check "$1: no link is stale" no_link_is_stale
  check "$1: nodes and devices are the same" nodes_are_right
  check "$1: no guest's volume group is active" no_group_of_a_guest_is_active
}

check "udevd starts" start_udevd
check "udevd knows dom0's disk" eval '[[ -e /dev/disk/by-label/dom0 ]]'

echo "-- disks of a pool"
check "a pool" ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
disk=$(ckpt disk create web xvda --size 64M | tail -n 1)
mkfs.ext4 -q -F "$disk"
inside=$(ckpt disk create web xvdb --size 64M | tail -n 1)
check "its other disk is LVM's, as the guest sees it" disk_with_a_group "$inside"
tidy "made"
check "a guest starts" guest_start pvh web memory=128 area=32 rate=4 uuid=1ab0ad09-0000-4000-8000-000000000007 \
  extra=probe.disks=1 disks="phy:$disk,xvda,w;phy:$inside,xvdb,w"
nonce=$(guest_nonce web)
for epoch in 1 2 3; do check "epoch $epoch" ckpt take web; done
check "the guest is right" guest_is_right web "$nonce"
tidy "taken"
check "back to epoch 2" ckpt restore web 2 --yes
check "the guest is right" guest_is_right web "$nonce"
check "undone" ckpt undo web --yes
check "the guest is right" guest_is_right web "$nonce"
tidy "restored"
for turn in 1 2 3; do
  check "shown $turn" ckpt mount web 2 xvda
  check "and gone $turn" ckpt umount web 2 xvda
done
mkdir -p /run/lab/mnt
check "the other disk is shown" ckpt mount web 2 xvdb
check "and gone" ckpt umount web 2 xvdb
check "mounted" ckpt mount web 2 xvda --at /run/lab/mnt
check "and gone" ckpt umount web 2 xvda
tidy "looked inside"
check "a clone" ckpt restore web 2 --as copy --yes
check "the clone is right" guest_is_right copy "$nonce"
guest_stop copy
check "its disks go" ckpt disk remove copy --yes
tidy "cloned"
check "epochs go" ckpt remove web 1 --yes
guest_stop web

echo "-- as after a boot"
for turn in 1 2 3; do dmsetup ls | awk '/^ckpt-/ {print $1}' | xargs -rn 1 dmsetup remove 2>/dev/null; done
check "nothing of the pool is active" eval '! dmsetup ls | grep ckpt-'
check "the pool starts" ckpt pool start
tidy "started"

echo "-- volumes of LVM"
pvcreate -q /dev/vde && vgcreate -q vg0 /dev/vde && lvcreate -qy -L 64M -n app vg0
uuid=$(cat /proc/sys/kernel/random/uuid)
mkfs.ext4 -q -F -U "$uuid" /dev/vg0/app
udevadm settle --timeout=60
check "udevd shows the volume by its content" by_content_leads_to "$uuid" /dev/vg0/app
check "a guest on it starts" guest_start pvh app memory=128 area=32 rate=4 uuid=1ab0ad09-0000-4000-8000-000000000008 disks="phy:/dev/vg0/app,xvda,w"
nonce=$(guest_nonce app)
check "it is adopted" ckpt adopt app --config /run/lab/app.cfg --pool main
check "the guest is right" guest_is_right app "$nonce"
tidy "adopted"
check "taken" ckpt take app
check "LVM looks" eval 'lvs && vgchange -q -ay vg0'
check "taken again" ckpt take app
check "back" ckpt restore app 1 --yes --no-safety
check "the guest is right" guest_is_right app "$nonce"
tidy "restored on adopted disks"
check "a volume beside it is made and goes" eval 'lvcreate -qy -L 8M -n other vg0 && lvremove -qy vg0/other'
chmod 0700 /var/lib/ckpt
check "the doctor finds no problem, and tells how LVM's own commands are kept out of guests' disks" \
  eval 'ckpt doctor >/run/lab/doctor; code=$?; cat /run/lab/doctor; ((code == 0)) && grep "global_filter" /run/lab/doctor'
guest_stop app
check "its epochs go" all_epochs_go app
check "it is released" ckpt release app --yes
udevadm settle --timeout=60
check "udevd shows the plain volume by its content" by_content_leads_to "$uuid" /dev/vg0/app
tidy "released"
check "the guest starts on the plain volume" guest_boot app
guest_stop app

echo "-- all goes"
check "the disks of web go" eval 'all_epochs_go web && ckpt disk remove web --yes'
check "the pool goes" ckpt pool remove main --yes
udevadm settle --timeout=60
check "nothing of ours is left" eval '! dmsetup ls | grep ckpt- && ! ls /dev/mapper/ckpt-*'
tidy "removed"
lab_finish
