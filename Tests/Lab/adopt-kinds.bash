# Sourced by soak-adopt-kinds-pv.sh and soak-adopt-kinds-pvh.sh with the kind of guest; each has a machine of its own.
#
# Volumes of LVM that are not linear: a striped one, and one in a thin pool of LVM's own. A running guest's are adopted, taken, restored,
# made active anew as after a boot, and released; LVM's thin pool stays LVM's, and works.
check "udevd starts" start_udevd
kind=$1

start() {
  guest_start $kind web uuid=1ab0ad09-0000-4000-8000-000000000002 disks="phy:/dev/vg0/striped,xvda,w;phy:/dev/vg0/thin,xvdb,w"
}
number_of() { dmsetup info -c --noheadings -o major,minor "$1"; }
sum() { md5sum <"$1"; }
says() { lvs --noheadings -o "$2" "vg0/$1" | xargs; } # VOLUME OPTION

pvcreate -q /dev/vdc /dev/vde && vgcreate -q vg0 /dev/vdc /dev/vde
check "a striped volume" lvcreate -qy -i 2 -L 64M -n striped vg0
check "a thin pool of LVM's" lvcreate -qy --type thin-pool -L 256M -n lvmpool vg0
check "a thin volume in it" lvcreate -qy -V 64M --thinpool lvmpool -n thin vg0
check "a pool of ours" ckpt pool create --vg vg0 --size 30% --yes
check "the guest starts" start
nonce=$(guest_nonce web)
number=$(number_of vg0-thin)
check "both are adopted" ckpt adopt web
check "what the guest has open is what it was" test "$(number_of vg0-thin)" = "$number"
check "LVM is told" test "$(says thin lv_tags) $(says striped lv_tags)" = "ckpt-origin ckpt-origin"
check "the guest is right" guest_is_right web "$nonce"
check "and works on" guest_goes_on web
used=$(says thin data_percent)
for epoch in 1 2; do check "epoch $epoch" ckpt take web; done
check "another volume is made in LVM's pool, and goes" \
  eval "lvcreate -qy -V 32M --thinpool lvmpool -n other vg0 && lvremove -qy vg0/other"
check "the next epoch is taken" ckpt take web
check "back to epoch 1" ckpt restore web 1 --yes --no-safety
check "the guest is right in it" guest_is_right web "$nonce"
check "and works on from it" guest_goes_on web
check "what it writes is not in LVM's pool" test "$(says thin data_percent)" = "$used"
guest_stop web

# As a boot does: nothing is active, then LVM activates what it may, then we.
# What stands on others goes first: each round takes away what nothing stands on any more.
for _ in 1 2 3 4 5; do
  for device in $(dmsetup ls | awk '{print $1}' | grep -E '^(ckpt-.*|vg0-thin|vg0-striped)$'); do dmsetup remove "$device" 2>/dev/null; done
done
check "all volumes can be closed" vgchange -q -an vg0
vgchange -q -ay vg0
check "LVM leaves both alone at a boot" eval '! dmsetup info vg0-thin && ! dmsetup info vg0-striped'
check "the disks come back" ckpt pool start
check "back to epoch 2" ckpt restore web 2 --yes --no-safety
check "the guest is right in it" guest_is_right web "$nonce"
check "it is taken" ckpt take web
guest_stop web

before="$(sum /dev/mapper/ckpt-web-xvda) $(sum /dev/mapper/ckpt-web-xvdb)"
check "both are released" ckpt release web --yes
check "they hold the newest content" test "$(sum /dev/vg0/striped) $(sum /dev/vg0/thin)" = "$before"
check "LVM is told" test -z "$(says thin lv_tags)$(says striped lv_tags)"
check "the guest boots from them" start
check "and is right" guest_is_right web "$(guest_nonce web)"
check "LVM makes a snapshot of its thin volume" lvcreate -qy -s -n snap vg0/thin
guest_stop web
lab_finish
