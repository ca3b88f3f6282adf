#!/bin/bash
# Hooks: one before the take that says no, one in the pause that sees the guest held, one that is late there; and who is told of failures.
# time limit: 900
set -uo pipefail
. /lab/lib.sh

hook() { # NAME, its lines on standard input
  { echo '#!/bin/sh'; cat; } >"/run/lab/$1"
  chmod 755 "/run/lab/$1"
}
notes_of() { ckpt show web "$1" --json | sed -n '/"notes"/,/]/p'; }
console_lines() { wc -l </var/log/xen/console/guest-web.log; }
no_suspend_since() { ! tail -n "+$(($1 + 1))" /var/log/xen/console/guest-web.log | grep -i 'freezing'; }

export CKPT_CONFIG=/run/lab/ckpt.conf
: >"$CKPT_CONFIG"
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
disk=$(ckpt disk create web xvda --size 64M)
guest_start pv web memory=128 area=16 rate=2 stamps=5 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce web)

hook told <<'H'
echo "$CKPT_RESULT $CKPT_GUEST $CKPT_FAILURES" >>/run/lab/told.log
H
hook no <<'H'
echo "the database is not ready" >&2
exit 1
H
printf 'hook-before = /run/lab/no\nnotify-command = /run/lab/told\n' >"$CKPT_CONFIG"
lines=$(console_lines)
check "a hook before the take stops it" refuses 1 "the database is not ready" ckpt take web
check "and again" refuses 1 "hook-before /run/lab/no failed with status 1" ckpt take web
check "the guest was not asked to suspend" no_suspend_since "$lines"
check "the status tells" eval 'ckpt status | grep "2 takes without an epoch"'

hook state <<'H'
xl list "$CKPT_DOMID" | awk 'NR == 2 {print $5}' >>/run/lab/states
H
printf '%s = /run/lab/%s\n' hook-before state hook-pause state hook-after state notify-command told >"$CKPT_CONFIG"
echo "hook-pause-deadline = 8" >>"$CKPT_CONFIG"
check "a take with hooks" ckpt take web
check "one ran while the guest was held, others while it ran" \
  eval '[[ $(paste -sd " " /run/lab/states) == [rb-]*[-b]" "*s*" "[rb-]* && $(sed -n 2p /run/lab/states) == *s* ]]'
check "somebody was told of the first failure, and of the end of them" \
  diff /run/lab/told.log <(printf 'failed web 1\nrecovered web 2\n')
check "the guest is right" guest_is_right web "$nonce"

hook slow <<'H'
echo "taking my time"
sleep 600
echo done >/run/lab/slow.done
H
printf 'hook-pause = /run/lab/slow\n' >"$CKPT_CONFIG"
check "a hook that is late in the pause does not keep the guest, nor the epoch" ckpt take web
check "the epoch tells" eval 'notes_of 2 | grep "hook-pause /run/lab/slow did not end within 0.1 s and was killed"'
# Here a shell needs longer than that to say its first word.
echo "hook-pause-deadline = 2" >>"$CKPT_CONFIG"
check "one with more time does neither" ckpt take web
check "its epoch tells what it said" eval 'notes_of 3 | grep "did not end within 2.0 s and was killed: taking my time"'
check "it is dead" eval '! grep -al "/run/lab/[s]low" /proc/[0-9]*/cmdline'
check "the guest is right" guest_is_right web "$nonce"
chmod 777 /run/lab/slow
check "a hook that anybody can write is a fault" refuses 12 "ckpt.conf:1: hook-pause" ckpt config check
check "a take goes without it" ckpt take web
check "its epoch tells" eval 'notes_of 4 | grep "/run/lab/slow cannot be a hook: others than its owner can write it"'
: >"$CKPT_CONFIG" # a restore reads it too
check "the epoch restores" ckpt restore web 2 --yes --no-safety
check "and is right" guest_is_right web "$nonce"
lab_finish
