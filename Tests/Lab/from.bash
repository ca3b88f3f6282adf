# Sourced by soak-from-pv.sh and soak-from-pvh.sh with the kind of guest; each has a machine of its own.
#
# Disks that cannot be adopted: a partition (of a PV guest), a loop device (of a PVH guest), and a volume of LVM's type raid1. `ckpt adopt`
# names the command that copies them; that one refuses while the guest runs, and copies them after it was shut down. The guest is started
# on the copies, taken and restored.
check "udevd starts" start_udevd
kind=$1

start() { guest_start $kind web uuid=1ab0ad09-0000-4000-8000-000000000003 disks="$1"; } # DISKS
sum() { md5sum <"$1"; }
free_bytes() { ckpt pool show --json | json_number data_free_bytes; }
path_for() { ckpt disk create web "$1" --from "$2" | tail -n 1; } # VDEV SOURCE
no_copy_is_left() { [[ -z $(dmsetup ls | grep -e '-copy') && $(ckpt disk list --json | grep -c '"vdev"') == "$1" ]]; } # DISKS

pvcreate -q /dev/vdc /dev/vde && vgcreate -q vg0 /dev/vdc /dev/vde
check "a mirrored volume" lvcreate -qy --type raid1 -m 1 -L 64M -n mirror vg0
if [[ $kind == pv ]]; then
  what="a partition" whole=/dev/vdd on_whole="a disk of domain"
  # A partition table as of old: one partition of 64 MiB, 1 MiB behind the start.
  python3 -c 'import struct
open("/dev/vdd", "r+b").write(bytes(446) + struct.pack("<4xB3xII", 0x83, 2048, 131072) + bytes(48) + b"\x55\xaa")'
  blockdev --rereadpt $whole && udevadm settle
  old=${whole}1
else
  what="a loop device" whole=/var/tmp/part on_whole="stands on it"
  raw_disk $whole 64
  old=$(losetup -f --show $whole)
fi
check "a pool of ours" ckpt pool create --vg vg0 --size 30% --yes
check "the guest starts" start "phy:$old,xvda,w;phy:/dev/vg0/mirror,xvdb,w"
nonce=$(guest_nonce web)
check "it writes" guest_goes_on web
check "$what is not adopted" refuses 12 "ckpt disk create web xvda --from $old" ckpt adopt web xvda
check "nor a mirrored volume" refuses 12 "ckpt disk create web xvdb --from /dev/vg0/mirror" ckpt adopt web xvdb
check "$what is not copied under the guest" refuses 11 "shut the guest down" ckpt disk create web xvda --from "$old"
check "nor a mirrored volume" refuses 11 "shut the guest down" ckpt disk create web xvdb --from /dev/vg0/mirror
check "nor what $what lies on" refuses 11 "$on_whole" ckpt disk create web xvda --from $whole
check "nothing was made" no_copy_is_left 0
check "the guest is right" guest_is_right web "$nonce"
guest_stop web

before="$(sum "$old") $(sum /dev/vg0/mirror)"
printf 'QFI\373%0508d' 0 >/var/tmp/image
check "an image is not copied" refuses 12 "qemu-img convert -O raw" ckpt disk create web xvda --from /var/tmp/image
mkdir -p /run/lab/mnt && raw_disk /var/tmp/mounted 16 && mkfs.ext4 -q -F /var/tmp/mounted
mounted=$(losetup -f --show /var/tmp/mounted) && mount "$mounted" /run/lab/mnt
check "nor what is mounted" refuses 11 "mounted" ckpt disk create web xvda --from "$mounted"
umount /run/lab/mnt

root=$(path_for xvda "$old") data=$(path_for xvdb /dev/vg0/mirror)
check "both are copied" test "$root $data" = "/dev/mapper/ckpt-web-xvda /dev/mapper/ckpt-web-xvdb"
check "they hold the same" test "$(sum "$root") $(sum "$data")" = "$before"
check "the old ones hold what they held" test "$(sum "$old") $(sum /dev/vg0/mirror)" = "$before"
check "nothing else is left" no_copy_is_left 2
check "a disk of the pool is not copied" refuses 12 "in a pool already" ckpt disk create web xvdc --from "$root"
raw_disk /var/tmp/hole 256
free=$(free_bytes)
check "a disk of zeros" ckpt disk create web xvdc --from /var/tmp/hole
check "takes no room" test "$(free_bytes)" = "$free"
check "it goes" ckpt disk remove web xvdc --yes

check "the guest starts on the copies" start "phy:$root,xvda,w;phy:$data,xvdb,w"
nonce=$(guest_nonce web)
check "it is right" guest_is_right web "$nonce"
check "it is taken" ckpt take web
check "and works on" guest_goes_on web
check "back to the epoch" ckpt restore web 1 --yes --no-safety
check "it is right in it" guest_is_right web "$nonce"
check "and works on from it" guest_goes_on web
guest_stop web
check "the old ones hold what they held" test "$(sum "$old") $(sum /dev/vg0/mirror)" = "$before"
lab_finish
