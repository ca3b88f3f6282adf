#!/bin/bash
# Full stores and full pools: refused before the guest is touched, or survived in the middle.
# time limit: 1200
set -uo pipefail
. /lab/lib.sh

is_untouched() { # no suspend was asked of it, and it is right
  [[ $(guest_domid web) == "$domid" ]] && guest_is_right web "$nonce"
}

no_suspend_since() { # LINES of the guest's console
  ! tail -n "+$(($1 + 1))" /var/log/xen/console/guest-web.log | grep -i 'freezing'
}

export CKPT_STORE=/run/lab/store
mkdir -p "$CKPT_STORE"
mkfs.ext4 -q -F /dev/vde
mount /dev/vde "$CKPT_STORE"
ckpt pool create small --file /var/tmp/small --size 192M >/dev/null
disk=$(ckpt disk create web xvda --size 128M)
guest_start pv web memory=128 area=16 rate=2 stamps=5 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce web)
domid=$(guest_domid web)
check "a first epoch" ckpt take web

lines=$(wc -l </var/log/xen/console/guest-web.log)
filler=$CKPT_STORE/filler
fallocate -l "$(($(df -B1 --output=avail "$CKPT_STORE" | tail -1) - (20 << 20)))" "$filler"
check "a store that is full" refuses 1 "no room for the epoch" ckpt take web
check "the guest was not asked to suspend" no_suspend_since "$lines"
check "the guest is untouched" is_untouched
rm "$filler"

check "a store whose write fails in the middle" \
  refuses 1 "cannot write" bash -c 'ulimit -f 64; exec ckpt take web'
check "the guest is untouched" is_untouched
check "nothing half-made is left" eval '[[ -z $(find "$CKPT_STORE" -name "*.partial") ]]'
check "its snapshot is gone from the pool" eval '[[ $(ckpt pool show --json | sed -n "s/.*\"snapshots\" : //p" | tr -d ,) == 1 ]]'
check "the next take works" ckpt take web

lines=$(wc -l </var/log/xen/console/guest-web.log)
other=$(ckpt disk create filler xvda --size 128M)
dd if=/dev/urandom of="$other" bs=1M count=128 oflag=direct status=none
check "a pool that is nearly full" refuses 1 "data" ckpt take web
check "the doctor tells how it gets larger" eval '! ckpt doctor --json >/run/lab/doctor && grep -e "ckpt pool grow small --data-size SIZE" /run/lab/doctor'
check "the guest was not asked to suspend" no_suspend_since "$lines"
check "the guest is untouched" is_untouched
check "no restore begins that could not take the guest before" refuses 1 "say --no-safety" ckpt restore web 1 --yes
check "the guest is untouched" is_untouched
check "older epochs restore" ckpt restore web 1 --yes --no-safety
check "and are right" guest_is_right web "$nonce"
guest_stop web

# A pool that fills between takes: the kernel tells the service, whose own looks are ten minutes apart.
ckpt disk remove filler --yes
cat >/run/lab/told <<'H'
#!/bin/sh
echo "$CKPT_RESULT $CKPT_POOL $CKPT_ERROR" >>/run/lab/notes
H
chmod 755 /run/lab/told
echo "notify-command = /run/lab/told" >/run/lab/ckpt.conf
CKPT_SOCKET=/run/lab/ckptd.sock ckptd --config /run/lab/ckpt.conf >/run/lab/ckptd.log 2>&1 &
daemon=$!
check "ckptd starts" until_true 60 grep -q "ready on" /run/lab/ckptd.log
sleep 2
check "and has nothing to tell of the pool" eval '! grep "of its data are used" /run/lab/ckptd.log'
other=$(ckpt disk create more xvda --size 192M)
free=$(ckpt pool show small --json | json_number data_free_bytes)
dd if=/dev/urandom of="$other" bs=1M count=$((free / 1048576 - 4)) oflag=direct status=none
check "it hears that the pool fills" until_true 60 grep "% of its data are used; prune" /run/lab/ckptd.log
check "and has somebody told" until_true 10 grep "^warning small pool small: .* of its data are used" /run/lab/notes
kill "$daemon"
wait "$daemon"

# Metadata runs full by count of devices and mappings, whatever the data.
truncate -s 4M /run/lab/metadata
losetup /dev/loop7 /run/lab/metadata
ckpt pool create lean --data /dev/vdc --metadata /dev/loop7 --yes >/dev/null
disk=$(ckpt disk create lean xvda --size 16M --pool lean)
guest_start pv lean memory=128 area=4 rate=1 stamps=5 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce lean)
check "a lean pool still takes" ckpt take lean
for ((thin = 1000000; thin < 1000900; thin += 60)); do
  (($(ckpt pool show lean --json | json_number metadata_free_bytes) > 1 << 20)) || break
  create_thins ckpt-lean-pool "$thin" 60 || break
done
check "metadata that is nearly full" refuses 1 "metadata" ckpt take lean
check "the guest is right" guest_is_right lean "$nonce"
lab_finish
