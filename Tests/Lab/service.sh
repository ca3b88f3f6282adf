#!/bin/bash
# ckptd on real Xen, with a PVH and a PV guest: takes through it, its schedules, and its end in every way in the middle of takes.
# time limit: 1500
set -uo pipefail
. /lab/lib.sh

store=/var/lib/ckpt
log=/run/lab/ckptd.log
fault=/run/lab/fault
export CKPT_SOCKET=/run/ckpt/ckptd.sock

daemon_start() { # [WORD…]: with more in its environment
  local marks
  marks=$(grep -c 'ready on' "$log" 2>/dev/null)
  env "$@" ckptd 2>>"$log" &
  daemon=$!
  until_true 60 more_lines "ready on" "${marks:-0}"
}
more_lines() { (($(grep -c "$1" "$log") > $2)); }
daemon_ends() { # SIGNAL: it ends, with this status
  kill "-$1" "$daemon"
  wait "$daemon"
  [[ $? == "$2" ]]
}
says() { grep -q -- "$1" "$log" || { tail -n 20 "$log"; return 1; }; }
state_of() { xl list "$1" | awk 'NR == 2 {print $5}'; }
stands() { [[ $(state_of "$1") == *s* ]]; }
runs() { [[ $(state_of "$1") == [rb-]*([-rb]) ]]; }
works() { ! [[ $(ckpt status --json) != *"\"kind\" : \"$1\""* ]]; }
is_idle() { ! ckpt status --json | grep -q '"kind" : "take"'; }
epochs_of() { ckpt list "$1" --json | sed -n 's/^ *"epoch" : \([0-9]*\),*$/\1/p' | sort -nu; }
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
  daemon_start "CKPT_FAULT=$1=$fault" || return
  ckpt take "$2" >/run/lab/take.out 2>&1 &
  take=$!
  until_true 60 test -e $fault/reached
}
let_go() { : >$fault/go; }
take_ends() { # STATUS
  wait "$take"
  local code=$?
  cat /run/lab/take.out
  [[ $code == "$1" ]]
}
is_well() { # GUEST WHAT: the guest is right, and so is its next epoch
  check "$2: no device is suspended" until_true 2 no_device_is_suspended
  check "$2: $1 is right" guest_is_right "$1" "${nonce[$1]}"
  check "$2: the next take" ckpt take "$1"
  check "$2: back to that epoch" ckpt restore "$1" "$(newest_of "$1")" --yes
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
check "the daemon starts" daemon_start
check "another one is refused" eval '! ckptd 2>/run/lab/other && grep -q "another ckptd" /run/lab/other'
check "a take through it" ckpt take pvh
check "is told in its log" says "take of pvh (uid 0): epoch 1"
check "the next one finds its changes by the log" eval 'ckpt take pvh --json | grep -q "\"changes\" : \"log\""'
ckpt take pv --json >/run/lab/pv.out & first=$!
ckpt take pvh --json >/run/lab/pvh.out & second=$!
check "two guests side by side" wait "$first" && check "both of them" wait "$second"
ckpt take pvh --limit-rate 1K >/run/lab/take.out 2>&1 & take=$!
check "a slow take is at work" until_true 30 works take
kill -INT "$take"
check "Ctrl-C gives it up" take_ends 130
check "in the daemon too" until_true 5 is_idle
before=$(newest_of pv)
ckpt take pv --limit-rate 4M >/dev/null 2>&1 & take=$!
until_true 30 works take
kill -KILL "$take"
check "a take whose command was killed is finished" until_true 120 eval "((\$(newest_of pv) > $before))"
check "no such guest" refuses 10 "no guest" ckpt take nobody
for kind in pvh pv; do is_well $kind "by the daemon"; done
check "Prometheus reads the takes" metric 'ckpt_takes_total{guest="pvh",result="taken"} '
check "and the pauses" metric 'ckpt_take_pause_seconds_count{guest="pv"} '

echo "-- schedules"
check "a guest that hears no request starts" guest_start pvh deaf memory=96 area=16 ignore=1
for guest in pvh pv deaf; do
  check "$guest has a schedule" ckpt schedule set $guest --every 5s --keep-last 3
done
count_of() { ckpt schedule list "$1" --json | json_number runs; }
for guest in pvh pv; do
  check "$guest is taken again and again" until_true 240 eval "((\$(count_of $guest) >= 6))"
done
check "the deaf one fails" until_true 60 eval '(($(ckpt schedule list deaf --json | json_number failed) >= 1))'
ckpt schedule list
for guest in pvh pv deaf; do check "$guest is taken no more" ckpt schedule remove $guest; done
until_true 60 is_idle
for guest in pvh pv; do
  check "of $guest three epochs are kept: $(epochs_of $guest | xargs)" test "$(epochs_of $guest | wc -l)" = 3
  is_well $guest "after its schedule"
done
check "the pool has as many snapshots as there are epochs" \
  eval '[[ $(ckpt pool show main --json | json_number snapshots) == $(($(epochs_of pvh | wc -l) + $(epochs_of pv | wc -l))) ]]'
guest_stop deaf

echo "-- ends"
ckpt take pvh --limit-rate 1K >/run/lab/take.out 2>&1 & take=$!
until_true 30 works take
check "told to end, it gives up a take before its pause, and ends" daemon_ends TERM 0
check "whose command says so" take_ends 130
for kind in pvh pv; do
  check "a take of $kind stands before its write" take_in write $kind
  before=$(newest_of $kind)
  kill -TERM "$daemon"
  sleep 1
  let_go
  check "told to end then, it finishes the take of $kind" take_ends 0
  check "and ends" daemon_ends CONT 0
  check "the epoch of $kind is there" test "$(newest_of $kind)" -gt "${before:-0}"

  check "a take of $kind stands in its pause" take_in copy $kind
  check "$kind is held" stands $kind
  check "the daemon is killed" daemon_ends KILL 137
  check "$kind runs" until_true 2 runs $kind
  check "the command says what happened" take_ends 1
  check "a stale socket is there" test -S $CKPT_SOCKET
  check "the daemon starts over it" daemon_start
  is_well $kind "killed in the pause of $kind"
  check "it ends" daemon_ends TERM 0

  check "a take of $kind stands in its pause once more" take_in copy $kind
  guard=$(pgrep -P "$daemon" -x ckpt-guard)
  kill -KILL "$guard"
  check "daemon and guard are killed" daemon_ends KILL 137
  wait "$take"
  check "$kind stands" eval "sleep 2; stands $kind"
  check "the daemon starts" daemon_start
  check "$kind runs" runs $kind
  check "the daemon tells what it recovered" says "recovered: .*$kind"
  is_well $kind "killed with the guard of $kind"
  check "it ends" daemon_ends TERM 0
done

echo "-- what is wrong"
mkdir -p /run/lab/ro && mount -t tmpfs -o ro none /run/lab/ro
check "a store that cannot be written is told at the start" eval 'daemon_start CKPT_STORE=/run/lab/ro && says "cannot be written"'
check "and at the take, and the guest runs on" refuses 1 "/run/lab/ro" ckpt take pvh
check "it ends" daemon_ends TERM 0
umount /run/lab/ro
echo "tracking = sometimes" >/run/lab/bad.conf
check "a bad configuration: it does not start, and says where" \
  eval 'ckptd --config /run/lab/bad.conf 2>/run/lab/other; [[ $? == 12 ]] && grep "bad.conf:1" /run/lab/other'
check "the daemon starts" daemon_start
for kind in pvh pv; do check "$kind is right at the end" guest_is_right $kind "${nonce[$kind]}"; done
daemon_ends TERM 0
for kind in pvh pv; do guest_stop $kind; done
for turn in 1 2 3; do dmsetup ls | awk '/^ckpt-/ {print $1}' | xargs -rn 1 dmsetup remove --noudevsync 2>/dev/null; done
check "a pool that is not there is told at the start" eval 'daemon_start && says "pool main: "'
daemon_ends TERM 0
lab_finish
