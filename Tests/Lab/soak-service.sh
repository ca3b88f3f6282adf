#!/bin/bash
# ckptd on real Xen, with a PVH and a PV guest: takes through it, its schedules, and its end in every way in the middle of takes.
# time limit: 1500
set -uo pipefail
. /lab/lib.sh

store=/var/lib/ckpt
log=/run/lab/ckptd.log
fault=/run/lab/fault
export CKPT_SOCKET=/run/ckpt/ckptd.sock

# What starts processes, or waits for them, runs here and not within `check`, which has a shell of its own.
daemon_start() { # [WORD…]: with more in its environment
  marks=$(grep -c 'ready on' "$log" 2>/dev/null)
  env "$@" ckptd >>"$log" 2>&1 &
  daemon=$!
}
is_ready() { (($(grep -c 'ready on' "$log") > ${marks:-0})); }
starts() { # [WORD…]
  daemon_start "$@"
  check "the daemon starts" until_true 60 is_ready
}
daemon_ends() { # SIGNAL STATUS TEXT
  kill "-$1" "$daemon"
  wait "$daemon"
  check "$3" test $? = "$2"
}
says() { grep -q -- "$1" "$log" || { tail -n 20 "$log"; return 1; }; }
state_of() { xl list "$1" | awk 'NR == 2 {print $5}'; }
stands() { [[ $(state_of "$1") == *s* ]]; }
runs() { [[ $(state_of "$1") == [rb-]*([-rb]) ]]; }
is_taking() { ckpt status --json | grep -q '"kind" : "take"'; }
is_idle() { ckpt status --json >/run/lab/status && grep -q '"operations"' /run/lab/status && ! grep -q '"kind" : "take"' /run/lab/status; }
newest_of() { epochs_of "$1" | tail -n 1; }
no_device_is_suspended() { ! dmsetup info -c --noheadings -o name,suspended | grep -i ':suspended'; }
scrape() {
  python3 - <<'PY'
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/ckpt/ckptd.sock")
s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
while data := s.recv(65536): print(data.decode(), end="")
PY
}
metric() { scrape | grep -F "$1" || { scrape | grep ckpt_take | head -n 20; return 1; }; }

# take_in PHASE GUEST: the daemon takes it and stands still at the beginning of the phase; `take` is the command that waits.
take_in() {
  rm -rf $fault && mkdir -p $fault
  starts "CKPT_FAULT=$1=$fault"
  ckpt take "$2" >/run/lab/take.out 2>&1 &
  take=$!
  check "a take of $2 stands before: $1" until_true 60 test -e $fault/reached
}
let_go() { : >$fault/go; }
take_ends() { # STATUS TEXT
  local code=0
  wait "$take" || code=$?
  check "$2: $(tail -n 1 /run/lab/take.out)" test $code = "$1"
}
is_well() { # GUEST WHAT: the guest is right, and so is its next epoch
  check "$2: no device is suspended" until_true 2 no_device_is_suspended
  check "$2: $1 is right" guest_is_right "$1" "${nonce[$1]}"
  check "$2: the next take" ckpt take "$1"
  check "$2: back to that epoch" ckpt restore "$1" "$(newest_of "$1")" --yes --no-safety
  check "$2: $1 is right in it" guest_is_right "$1" "${nonce[$1]}"
  check "$2: nothing is left" nothing_is_left
}
nothing_is_left() { ! find $store -name '*.partial' | grep . && ! pgrep -ax ckpt-guard; }

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
declare -A nonce
for kind in pvh pv; do
  disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  check "$kind starts" guest_start "$kind" "$kind" memory=128 area=32 rate=2 disks="phy:$disk,xvda,w"
  nonce[$kind]=$(guest_nonce "$kind")
done

echo "-- takes"
check "a socket without a daemon: one line, what to do" refuses 1 "systemctl start ckptd" ckpt take pvh
starts
check "another one is refused" eval '! ckptd 2>/run/lab/other && grep -q "another ckptd" /run/lab/other'
check "a take through it" ckpt take pvh
check "is told in its log" says "take of pvh (uid 0): epoch 1"
check "the next one finds its changes by the log" eval 'ckpt take pvh --json | grep -q "\"changes\" : \"log\""'
ckpt take pv --json >/run/lab/pv.out & first=$!
ckpt take pvh --json >/run/lab/pvh.out & second=$!
wait "$first"
check "two guests side by side" test $? = 0
wait "$second"
check "both of them" test $? = 0
ckpt take pvh --limit-rate 1K >/run/lab/take.out 2>&1 & take=$!
check "a slow take is at work" until_true 30 is_taking
check "another guest of its pool is taken meanwhile" ckpt take pv
kill -INT "$take"
take_ends 130 "Ctrl-C gives it up"
check "in the daemon too" until_true 5 is_idle
before=$(newest_of pv)
ckpt take pv --limit-rate 4M >/dev/null 2>&1 & take=$!
until_true 30 is_taking
kill -KILL "$take"
check "a take whose command was killed is finished" until_true 120 eval "((\$(newest_of pv) > $before))"
check "no such guest" refuses 10 "no guest" ckpt take nobody
for kind in pvh pv; do is_well $kind "by the daemon"; done
check "Prometheus reads the takes" metric 'ckpt_takes_total{guest="pvh",result="taken"} '
check "and the pauses" metric 'ckpt_take_pause_seconds_count{guest="pv"} '

echo "-- schedules"
check "a guest that hears no request starts" guest_start pvh deaf memory=128 area=16 ignore=1
for guest in pvh pv deaf; do
  check "$guest has a schedule" ckpt schedule set $guest --every 5s --keep-last 3
done
count_of() { ckpt schedule list "$1" --json | json_number runs; }
for guest in pvh pv; do
  check "$guest is taken again and again" until_true 240 eval "((\$(count_of $guest) >= 6))"
done
check "the deaf one fails" until_true 60 eval '(($(ckpt schedule list deaf --json | json_number failed) >= 1))'
ckpt schedule list
for guest in pvh pv deaf; do check "$guest is taken no more" ckpt schedule pause $guest; done
until_true 60 is_idle
for guest in pvh pv; do
  check "of $guest three epochs are kept: $(epochs_of $guest | xargs)" test "$(epochs_of $guest | wc -l)" = 3
  is_well $guest "after its schedule"
done
check "the pool has as many snapshots as there are epochs" \
  eval '[[ $(ckpt pool show main --json | json_number snapshots) == $(($(epochs_of pvh | wc -l) + $(epochs_of pv | wc -l))) ]]'
for guest in pvh pv deaf; do ckpt schedule remove $guest >/dev/null; done
guest_stop deaf

echo "-- ends"
ckpt take pvh --limit-rate 1K >/run/lab/take.out 2>&1 & take=$!
until_true 30 is_taking
daemon_ends TERM 0 "told to end, it gives up a take before its pause, and ends"
take_ends 130 "whose command says so"
for kind in pvh pv; do
  before=$(newest_of $kind)
  take_in write $kind
  kill -TERM "$daemon"
  sleep 1
  let_go
  take_ends 0 "told to end then, it finishes the take"
  daemon_ends CONT 0 "and ends"
  check "the epoch of $kind is there" test "$(newest_of $kind)" -gt "${before:-0}"

  take_in copy $kind
  check "$kind is held" stands $kind
  daemon_ends KILL 137 "the daemon is killed"
  check "$kind runs" until_true 2 runs $kind
  take_ends 1 "the command says what happened"
  check "a stale socket is there" test -S $CKPT_SOCKET
  starts
  is_well $kind "killed in the pause of $kind"
  daemon_ends TERM 0 "it ends"

  take_in copy $kind
  kill -KILL "$(pgrep -P "$daemon" -x ckpt-guard)"
  daemon_ends KILL 137 "guard and daemon are killed"
  wait "$take"
  check "$kind stands" eval "sleep 2; stands $kind"
  starts
  check "$kind runs" runs $kind
  check "the daemon tells what it recovered" says "recovered: .*$kind"
  is_well $kind "killed with the guard of $kind"
  daemon_ends TERM 0 "it ends"
done

echo "-- what is wrong"
mkdir -p /run/lab/ro && mount --bind $store /run/lab/ro && mount -o remount,bind,ro /run/lab/ro
starts CKPT_STORE=/run/lab/ro
check "a store that cannot be written is told at the start" says "cannot be written"
check "and at the take, and the guest runs on" refuses 1 "Read-only file system" ckpt take pvh
daemon_ends TERM 0 "it ends"
umount /run/lab/ro
echo "tracking = sometimes" >/run/lab/bad.conf
ckptd --config /run/lab/bad.conf >/run/lab/other 2>&1
check "a bad configuration: it does not start" test $? = 12
check "and says where" grep "bad.conf:1" /run/lab/other
starts
for kind in pvh pv; do check "$kind is right at the end" guest_is_right $kind "${nonce[$kind]}"; done
daemon_ends TERM 0 "it ends"
for kind in pvh pv; do guest_stop $kind; done
for turn in 1 2 3; do dmsetup ls | awk '/^ckpt-/ {print $1}' | xargs -rn 1 dmsetup remove --noudevsync 2>/dev/null; done
starts
check "a pool that is not there is told at the start" says "pool main: "
daemon_ends TERM 0 "it ends"
lab_finish
