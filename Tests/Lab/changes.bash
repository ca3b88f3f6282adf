# Sourced by soak-changes-*.sh with the kind of guest: what happens to a guest and its log of dirty pages between and during takes, and the
# epoch after it is right each time.

# next_epoch_is_right KIND NONCE WHAT: takes, goes back to that epoch, and the guest is the one it was.
next_epoch_is_right() {
  local kind=$1 nonce=$2 what=$3 epoch
  check "$what: the next epoch is taken" eval "ckpt take $kind --json >/run/lab/taken"
  epoch=$(json_number epoch </run/lab/taken)
  grep -E '"(changes|reason)"' /run/lab/taken | tr -d '\n' | sed 's/^/      | /' && echo
  ((torn += $(torn_pages)))
  check "$what: back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
  check "$what: the guest is right" guest_is_right "$kind" "$nonce"
  # A restored guest is a new domain: what follows begins with one that is tracked again.
  check "$what: it is taken again" ckpt take "$kind"
}

says_changes() { grep -q "\"changes\" : \"$1\"" /run/lab/taken; }

# nothing_is_held NAME: no note of a take is left on the domain, and no device stands suspended.
nothing_is_held() {
  local domid
  domid=$(guest_domid "$1") || return
  echo "$(xl list "$1" | tail -n 1); note '$(xenstore-read "/local/domain/$domid/ckpt/pause" 2>/dev/null)'"
  [[ -z $(xenstore-read "/local/domain/$domid/ckpt/pause" 2>/dev/null) ]] && ! dmsetup info | grep -q 'State: *SUSPENDED'
}

# take_in PHASE NAME: a take that stands still at the beginning of a phase; `take` and `guard` are its processes.
take_in() {
  rm -rf /run/lab/fault && mkdir -p /run/lab/fault
  CKPT_FAULT=$1=/run/lab/fault ckpt take "$2" >/dev/null 2>&1 &
  take=$!
  until_true 60 test -e /run/lab/fault/reached && guard=$(pgrep -P "$take" -x ckpt-guard)
}

is_killed() { # PROCESS…: the last one is the take
  kill -KILL "$@"
  wait "${@: -1}"
  [[ $? == 137 ]]
}

killed_while_it_copies() { # NAME: SIGKILL after the log of dirty pages was read, while the guest runs
  local take guard
  take_in request "$1" || return
  [[ $1 == pv && $(cat /lab/.hypervisor) == stock ]] || note_is_owed "$(guest_domid "$1")" || return
  is_killed "$guard" "$take"
}

tracking_note() { xenstore-read "/local/domain/$1/ckpt/tracking" 2>/dev/null; }
note_is_owed() { [[ $(tracking_note "$1") == "owed "[0-9a-f]* ]]; }

killed_in_the_pause() { # NAME [guard]: SIGKILL of the take, and of its guard, while the guest is held
  local take guard
  take_in copy "$1" && stands "$1" || return
  is_killed ${2:+"$guard"} "$take"
}
stands() { [[ $(xl list "$1" | tail -n 1) =~ ' '...s..' ' ]]; }
stands_for_ever() { sleep 3 && stands "$1"; }
does_not_stand() { ! stands "$1"; }

runs_again() { # NAME: and no log of dirty pages is on for a take that is dead
  ckpt recover "$1" || return
  nothing_is_held "$1" && [[ $(tracking_note "$(guest_domid "$1")") != owed* ]]
}

balloons() { # NAME: its memory goes down and up as long as the file is there; what it had each time is in /run/lab/had
  local target=160
  while [[ -e /run/lab/balloon ]]; do
    xl mem-set "$1" $target
    sleep 0.7
    xl list "$1" | awk 'NR == 2 {print $3}'
    target=$((160 + 192 - target))
  done >/run/lab/had 2>/dev/null
}
moved() { # FILE: it holds more than one size
  sort -n "$1" | uniq -c
  (($(sort -u "$1" | wc -l) > 1))
}

# Page tables that changed while they were copied live, in all rounds of what /run/lab/taken tells.
torn_pages() { grep -o '"torn" : [0-9]*' /run/lab/taken | awk '{sum += $3} END {print sum + 0}'; }

changes() { # KIND
  local kind=$1 disk nonce pid taken torn=0
  printf "%s\n" "tracking = continuous" "staging = 32M" >/run/lab/ckpt.conf
  export CKPT_CONFIG=/run/lab/ckpt.conf
  disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  check "$kind starts" guest_start "$kind" "$kind" memory=192 vcpus=2 area=48 rate=8 forks=1 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind")
  check "a first epoch is taken" ckpt take "$kind"

  check "xl save -c comes between" xl save -c "$kind" /var/tmp/between
  rm -f /var/tmp/between
  next_epoch_is_right "$kind" "$nonce" "after xl save -c"
  check "after xl save -c: everything was compared" says_changes compare

  check "a take is killed while it copies live" killed_while_it_copies "$kind"
  check "after a killed take: nothing is held" runs_again "$kind"
  next_epoch_is_right "$kind" "$nonce" "after a killed take"
  check "after a killed take: everything was compared" says_changes compare

  check "a take is killed in the pause" killed_in_the_pause "$kind"
  check "its guard lets the guest run" until_true 2 does_not_stand "$kind"
  check "after that: nothing is held" until_true 5 nothing_is_held "$kind"
  next_epoch_is_right "$kind" "$nonce" "after a take killed in the pause, with a guard"

  check "a take and its guard are killed in the pause" killed_in_the_pause "$kind" guard
  check "and the guest stays suspended" stands_for_ever "$kind"
  check "ckpt recover lets it run again" runs_again "$kind"
  check "it works on" guest_goes_on "$kind"
  next_epoch_is_right "$kind" "$nonce" "after a take killed in the pause"

  check "a take's writes fail in the middle" refuses 1 "cannot write" bash -c "ulimit -f 256; exec ckpt take $kind"
  check "after a store that failed: nothing is held" nothing_is_held "$kind"
  next_epoch_is_right "$kind" "$nonce" "after a store that failed"

  check "a take is interrupted with ^C" eval \
    "ckpt take $kind --limit-rate 1K & sleep 3; kill -INT \$!; wait \$!; [[ \$? == 130 ]]"
  check "after ^C: nothing is held" nothing_is_held "$kind"
  next_epoch_is_right "$kind" "$nonce" "after ^C"

  : >/run/lab/balloon
  balloons "$kind" &
  pid=$!
  sleep 1
  check "a ballooning guest is taken" eval "ckpt take $kind --json >/run/lab/first"
  check "and again" eval "ckpt take $kind --json >/run/lab/second"
  rm -f /run/lab/balloon
  wait "$pid"
  check "its memory did go down and up" moved /run/lab/had
  for taken in first second; do
    check "a ballooning guest: back to the $taken epoch" ckpt restore "$kind" "$(json_number epoch <"/run/lab/$taken")" --yes --no-safety
    check "a ballooning guest: it is right" guest_is_right "$kind" "$nonce"
  done
  guest_stop "$kind"

  disk=$(ckpt disk create "$kind-busy" xvda --size 64M | tail -n 1)
  check "a guest that writes faster than it is copied starts" \
    guest_start "$kind" "$kind-busy" memory=192 vcpus=2 area=64 rate=400 forks=1 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind-busy")
  printf "%s\n" "tracking = continuous" "staging = 4M" >/run/lab/ckpt.conf
  check "it is taken" eval "ckpt take $kind-busy --json >/run/lab/taken"
  check "it wrote so much meanwhile that 4 MiB did not hold it, and some was written in the pause" test "$(json_number spilled_bytes </run/lab/taken)" -gt 0
  echo "staging-full = abort" >>/run/lab/ckpt.conf
  check "a take that must not do that is given up" refuses 1 "changed more than the 4 MiB set aside" ckpt take "$kind-busy"
  check "after it: nothing is held" nothing_is_held "$kind-busy"
  check "after it: the guest works on" guest_goes_on "$kind-busy"
  printf "%s\n" "tracking = continuous" "staging = 4M" >/run/lab/ckpt.conf
  next_epoch_is_right "$kind-busy" "$nonce" "a guest that writes faster than it is copied"
  guest_stop "$kind-busy"
  [[ $kind != pv ]] || check "page tables changed while they were copied: $torn times" test "$torn" -gt 0
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
changes "$1"
lab_finish
