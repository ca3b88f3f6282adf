#!/bin/bash
# Room: takes are skipped at a pool's watermark and over quotas, before the guest notices; policies make room first; a pool grows while its guest writes.
# time limit: 1800
set -uo pipefail
. /lab/lib.sh

no_suspend_since() { # LINES of the guest's console
  ! tail -n "+$(($1 + 1))" /var/log/xen/console/guest-web.log | grep -i 'freezing'
}
console_lines() { wc -l </var/log/xen/console/guest-web.log; }
epochs() { epochs_of web | xargs; }
pool_number() { ckpt pool show small --json | json_number "$1"; }
notes_of() { ckpt show web "$1" --json | sed -n '/"notes"/,/]/p'; }

skips_after_policy() { # a note on what was removed, then the error
  local text code=0
  text=$(ckpt take web 2>&1 >/dev/null </dev/null) || code=$?
  echo "status $code: $text"
  [[ $code == 1 && $text == *"its policy removed epochs 1, 2"*$'\n'*"the take is skipped"*pool-watermark* ]]
}

export CKPT_STORE=/run/lab/store CKPT_CONFIG=/run/lab/ckpt.conf
mkdir -p "$CKPT_STORE"
mkfs.ext4 -q -F /dev/vde
mount /dev/vde "$CKPT_STORE"
: >"$CKPT_CONFIG"
ckpt pool create small --file /var/tmp/small --size 512M >/dev/null
disk=$(ckpt disk create web xvda --size 64M)
guest_start pv web memory=128 area=16 rate=2 stamps=50 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce web)
for _ in 1 2 3; do check "an epoch" ckpt take web; done

# The pool's watermark: other data fill it to 60 %.
other=$(ckpt disk create other xvda --size 384M)
dd if=/dev/urandom of="$other" bs=1M count=300 oflag=direct status=none
lines=$(console_lines)
echo "pool-watermark = 50" >"$CKPT_CONFIG"
check "at the watermark a take is skipped" refuses 1 "pool-watermark" ckpt take web
check "no epoch went, none came" test "$(epochs)" = "1 2 3"
check "the guest was not asked to suspend" no_suspend_since "$lines"
printf 'pool-watermark = 50\nkeep-last = 1\n' >"$CKPT_CONFIG"
check "with a policy epochs go first; where that is not enough the take is skipped" skips_after_policy
check "the policy was followed" test "$(epochs)" = 3
check "the guest was not asked to suspend" no_suspend_since "$lines"
check "the guest is right" guest_is_right web "$nonce"

# Quotas and the host's reserve.
: >"$CKPT_CONFIG"
for _ in 1 2; do ckpt take web >/dev/null; done
check "three epochs" test "$(epochs)" = "3 4 5"
uuid=$(xl vm-list | awk '$3 == "web" {print $1}')
used=$(($(du -s --block-size=1 "$CKPT_STORE/$uuid" | cut -f1)))
echo "quota = $((used / 1048576))M" >"$CKPT_CONFIG"
lines=$(console_lines)
check "over its quota a take is skipped" refuses 1 "within its quota" ckpt take web
check "the guest was not asked to suspend" no_suspend_since "$lines"
echo "quota = $(((used + (160 << 20)) / 1048576))M" >"$CKPT_CONFIG"
check "within it there is one" ckpt take web
echo "store-quota = 1M" >"$CKPT_CONFIG"
check "over the store's quota a take is skipped" refuses 1 "store's quota" ckpt take web
echo "host-reserve = 1T" >"$CKPT_CONFIG"
check "a take leaves the host its reserve" refuses 1 "host-reserve" ckpt take web

# Metadata that run low grow by themselves with a pool in files.
metadata=$(pool_number metadata_bytes)
: >"$CKPT_CONFIG"
for ((thin = 1000000; thin < 1020000; thin += 500)); do
  (($(pool_number metadata_free_bytes) * 4 > metadata)) || break
  create_thins ckpt-small-pool "$thin" 500 || break
done
check "metadata are low" test $(($(pool_number metadata_free_bytes) * 4)) -le "$metadata"
check "a take" ckpt take web
check "made them larger" test "$(pool_number metadata_bytes)" -gt "$metadata"
newest=$(epochs | awk '{print $NF}')
check "and its epoch tells" eval 'notes_of "$newest" | grep "ran low and was grown"'

# More room, while the guest writes.
printf 'pool-watermark = 60\nkeep-last = 2\n' >"$CKPT_CONFIG"
before=$(pool_number data_bytes)
check "the pool's data grow under a guest that writes" ckpt pool grow small --data-size 1G
check "they have" test "$(pool_number data_bytes)" -gt "$before"
check "the guest goes on" guest_goes_on web
check "below the watermark again: a take" ckpt take web
metadata=$(pool_number metadata_bytes)
check "its metadata grow, too" ckpt pool grow small --metadata-size $((2 * metadata))
check "they have" test "$(pool_number metadata_bytes)" -gt "$metadata"
check "the guest goes on" guest_goes_on web
check "a pool does not shrink" refuses 1 "cannot shrink" ckpt pool grow small --metadata-size 32M

newest=$(epochs | awk '{print $NF}')
check "the guest is right" guest_is_right web "$nonce"
check "the newest epoch restores" ckpt restore web "$newest" --yes --no-safety
check "and is right" guest_is_right web "$nonce"
lab_finish
