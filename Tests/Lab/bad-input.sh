#!/bin/bash
# Bad input and bad states: one clear line, the documented status, nothing changed, the guest running.
# time limit: 1200
set -uo pipefail
. /lab/lib.sh

state_of() { xl list "$1" | awk 'NR==2 {print $5}'; }

store_files() { find /var/lib/ckpt -type f ! -name counter ! -name lock "$@" | sort; }
remember_store() { before=$(store_files); }
store_is_as_before() { diff <(echo "$before") <(store_files "$@"); } # nothing half-made, nothing new

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
web=$(ckpt disk create web xvda --size 64M)
guest_start pv web disks="phy:$web,xvda,w" memory=128 area=16 rate=2 stamps=5
nonce=$(guest_nonce web)
domid=$(guest_domid web)
ckpt take web
remember_store

doctor_says() { # STATUS WORDS
  local text code=0
  text=$(ckpt doctor --json) || code=$?
  grep -F '"what"' <<<"$text"
  ((code == $1)) && grep -qF -- "$2" <<<"$text"
}
chmod 0700 /var/lib/ckpt # as ckpt makes it; the image has it already
check "the doctor finds no problem, and tells how the guest would be taken" doctor_says 0 "web: asked through xenstore"
check "its lines are short" eval '! ckpt doctor | grep -E "^.{81}"'
chmod 0755 /var/lib/ckpt
check "it finds a store that all can enter" doctor_says 12 "chmod 0700 /var/lib/ckpt"
chmod 0700 /var/lib/ckpt

check "unknown guest" refuses 10 "no guest 'nosuch'" ckpt take nosuch
check "unknown guest to restore" refuses 10 "no epoch of 'nosuch'" ckpt restore nosuch 1 --yes
check "unknown epoch" refuses 10 "has no epoch 9; it has 1" ckpt restore web 9 --yes
check "unknown epoch to show" refuses 10 "has no epoch 9" ckpt show web 9
check "unknown epoch to export" refuses 10 "has no epoch 9" ckpt export web 9 /run/lab/x
check "no store" refuses 10 "no store at /nowhere" ckpt list --store /nowhere
check "Domain-0 by name" refuses 12 "Domain-0 is the host" ckpt take Domain-0
check "Domain-0 by number" refuses 12 "Domain-0 is the host" ckpt take 0
check "restore without a terminal wants --yes" refuses 12 "--yes" ckpt restore web 1
check "not root" refuses 12 "not root" setpriv --reuid 65534 --clear-groups ckpt take web
check "the guest was not touched" test "$(guest_domid web)" = "$domid"
check "the guest is right" guest_is_right web "$nonce"
check "the store is as before" store_is_as_before

xl pause web
check "a paused guest" refuses 1 "is paused" ckpt take web
check "a paused guest that could not be taken before it goes back" refuses 1 "--no-safety" ckpt restore web 1 --yes
check "the doctor tells what to do" doctor_says 0 '`xl unpause` it'
check "it stays paused" eval '[[ $(state_of web) == --p--- ]]'
xl unpause web
check "the guest is right" guest_is_right web "$nonce"

guest_config pv shut memory=128 area=4 rate=1 stamps=5 extra=sysrq_always_enabled >/dev/null
sed -i 's/^on_\(poweroff\|crash\) = .*/on_\1 = "preserve"/' /run/lab/shut.cfg
xl create -q /run/lab/shut.cfg
guest_ask shut 120 quick >/dev/null
xl sysrq shut o
until_true 30 eval '[[ $(state_of shut) == ---s-* ]]'
check "a guest that is shut down" refuses 1 "is shut down" ckpt take shut
xl destroy shut
xl create -q /run/lab/shut.cfg
guest_ask shut 120 quick >/dev/null
xl sysrq shut c
until_true 30 eval '[[ $(state_of shut) == ----c* ]]'
check "a crashed guest" refuses 1 "crashed" ckpt take shut
xl destroy shut

guest_start pv deaf memory=128 area=4 rate=1 stamps=5 ignore=1
deaf=$(guest_nonce deaf)
check "a guest that ignores the request" refuses 1 "did not answer the suspend request" ckpt take deaf
check "its request is withdrawn" test -z "$(xenstore-read "/local/domain/$(guest_domid deaf)/control/shutdown")"
check "it runs on" guest_is_right deaf "$deaf"
check "a take of it ends when its time is over" refuses 1 "did not get to its pause" ckpt take deaf --timeout 5
check "that request is withdrawn too" test -z "$(xenstore-read "/local/domain/$(guest_domid deaf)/control/shutdown")"
check "^C ends one that waits for it" eval 'ckpt take deaf & sleep 8; kill -INT $!; wait $!; [[ $? == 130 ]]'
check "and withdraws its request" test -z "$(xenstore-read "/local/domain/$(guest_domid deaf)/control/shutdown")"
check "it runs on after that" guest_is_right deaf "$deaf"
guest_stop deaf
guest_start pv stubborn memory=128 area=4 rate=1 stamps=5 refuse=1
stubborn=$(guest_nonce stubborn)
check "a guest that cannot freeze" refuses 1 "took the suspend request but did not suspend" ckpt take stubborn
check "it runs on" guest_is_right stubborn "$stubborn"
guest_stop stubborn

raw_disk /run/lab/loose 16
losetup /dev/loop6 /run/lab/loose
guest_start pv loose memory=128 area=4 rate=1 stamps=5 disks="phy:/dev/loop6,xvda,w"
check "a disk that is in no pool" refuses 12 "ckpt disk create loose xvda" ckpt take loose
check "the doctor has seen it" doctor_says 0 "disk xvda (/dev/loop6) of loose is not in a pool"
xenstore-write "/local/domain/0/backend/pci/$(guest_domid loose)/0/state" 4
check "a passed-through device" refuses 12 "PCI device" ckpt take loose
guest_stop loose
# Of guests that were there and could not be taken it is remembered that they failed, and nothing else.
check "the store is as before" store_is_as_before ! -name takes

uuid=$(xl vm-list | awk '$3 == "web" {print $1}')
exec 7>"/var/lib/ckpt/$uuid/lock"
flock 7
check "a second take at the same time" refuses 11 "locked" ckpt take web
check "a restore at the same time" refuses 11 "locked" ckpt restore web 1 --yes
exec 7>&-

epoch=$(find "/var/lib/ckpt/$uuid" -name '*.epoch' | head -1)
cp "$epoch" /run/lab/whole
size=$(stat -c %s "$epoch")
truncate -s $((size - 1)) "$epoch"
check "an epoch file that is cut short" refuses 1 "damaged" ckpt restore web 1 --yes
change_byte() { # OFFSET, of the epoch's file as it was
  cp /run/lab/whole "$epoch"
  printf '\x5a' | dd of="$epoch" bs=1 seek="$1" conv=notrunc status=none
  cmp -s "$epoch" /run/lab/whole && printf '\xa5' | dd of="$epoch" bs=1 seek="$1" conv=notrunc status=none
}
for offset in 10 $((size / 2)) $((size - 5)); do
  change_byte "$offset"
  check "an epoch file with byte $offset changed" refuses 1 "damaged" ckpt restore web 1 --yes
done
# Of a page a clone finds it out only while xl already fills the new domain.
guests_and_disks() { xl list | awk '{print $1, $2}'; dmsetup ls | sort; ckpt disk list; }
ckpt disk create copy xvdb --size 16M >/dev/null # of somebody else, for a guest of the clone's name
before=$(guests_and_disks)
change_byte $((size / 2))
check "the same as a clone" refuses 1 "damaged" ckpt restore web 1 --as copy --yes
check "nothing is left of the clone" diff <(echo "$before") <(guests_and_disks)
check "the guest was not touched" test "$(guest_domid web)" = "$domid"
check "the guest is right" guest_is_right web "$nonce"
cp /run/lab/whole "$epoch"
check "the mended epoch restores" ckpt restore web 1 --yes
check "and is right" guest_is_right web "$nonce"

guest_stop web
exec 8<"$web"
before=$(guests_and_disks)
check "a disk that somebody has open, of a guest that is down" refuses 1 "it is in use" ckpt restore web 1 --yes
check "the same without a start" refuses 1 "it is in use" ckpt restore web 1 --yes --disks-only
check "nothing was changed" diff <(echo "$before") <(guests_and_disks)
exec 8<&-
mkdir -p /var/lib/xen/save
echo saved >/var/lib/xen/save/web
check "a guest that xendomains saved and that did not come back" \
  refuses 1 "\`xl restore /var/lib/xen/save/web\`" ckpt restore web 1 --yes
check "nothing was changed" diff <(echo "$before") <(guests_and_disks)
rm /var/lib/xen/save/web
check "then it restores" ckpt restore web 1 --yes
check "and is right" guest_is_right web "$nonce"
lab_finish
