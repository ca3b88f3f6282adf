# Sourced by hostile-pvh.sh and soak-hostile-*.sh with the kind of guest and which of the guests below; each has a machine of its own.
#
# Guests whose kernel works against whoever takes them (Tools/lab/hostile). Each take ends with one clear line and its status, the
# guest is in the state that was said, nothing is left, and an honest guest of the same host is taken right after.

not() { ! "$@"; }
do_deed() { [[ $(answer_field "$(guest_ask "$1" 60 "do:$2")" done) == 1 ]]; } # NAME WORD
state_of() { xl list "$1" 2>/dev/null | awk 'NR == 2 {print $5}'; }
is_in_state() { [[ $(state_of "$1") == *"$2"* ]]; } # NAME LETTER, as xl list shows it
is_gone() { ! guest_domid "$1" >/dev/null; }
small_guest() { # NAME [KEY=VALUE…]
  local name=$1 disk
  disk=$(ckpt disk create "$name" xvda --size 16M) || return
  shift
  guest_start "$kind" "$name" memory=128 area=4 rate=1 stamps=5 disks="phy:$disk,xvda,w" "$@"
}

nothing_is_left() { # DOMID
  local left
  left=$(find /var/lib/ckpt -name '*.partial'; dmsetup info | grep 'State: *SUSPENDED'; pgrep -ax ckpt-guard)
  [[ -z $left ]] || { echo "$left"; return 1; }
  [[ -z $(xenstore-read "/local/domain/$1/ckpt/pause" 2>/dev/null) ]] || { echo "a note of a pause"; return 1; }
  [[ $(ckpt pool show main --json | json_number snapshots) == $(ckpt list --json | grep -c '"epoch"') ]] || { ckpt pool show main; return 1; }
}

# One of several: refuses_either STATUS STATUS COMMAND…
refuses_either() {
  local first=$1 second=$2
  shift 2
  "$@" 2>/run/lab/refused >/dev/null </dev/null
  local code=$?
  echo "status $code: $(cat -v /run/lab/refused)"
  [[ $code == "$first" || $code == "$second" ]] && [[ $(wc -l </run/lab/refused) == 1 ]] && grep -q '^ckpt: ' /run/lab/refused
}

# afterwards WHAT DOMID: whatever became of the hostile guest.
afterwards() {
  check "$1: nothing is left" until_true 5 nothing_is_left "$2"
  check "$1: the honest guest is taken right after" ckpt take honest
}

# refused NAME WHAT WORD STATUS WORDS: the guest does WORD, is not taken, runs on, and takes it back.
refused() {
  local what="$kind $2"
  check "$what: the guest does it" do_deed "$1" "$3"
  check "$what: it is not taken" refuses "$4" "$5" ckpt take "$1"
  afterwards "$what" "$(guest_domid "$1")"
  check "$what: it runs on" guest_goes_on "$1"
  do_deed "$1" mend
}

# A kernel that suspends in order, and writes what it likes into what is read of it.
wild() {
  local nonce
  check "$kind: a wild guest starts" small_guest wild
  nonce=$(guest_nonce wild)
  check "$kind: as long as it is good it is taken" ckpt take wild
  if [[ $kind == pv ]]; then
    refused wild "claims 2^52 frames" frames 1 "claims 4503599627370496 frames"
    refused wild "names no frame for the root of its list" root 1 "no frame of this host"
    refused wild "puts its list where it has nothing" address 1 "p2m list"
    refused wild "lists a frame of another" list 1 "cannot be saved"
    refused wild "maps what is not its memory" table 1 "cannot be saved"
  fi
  check "$kind: it writes huge and binary values into its nodes" do_deed wild junk
  check "$kind: it is taken all the same" ckpt take wild
  do_deed wild mend
  check "$kind: mended it is taken" ckpt take wild
  check "$kind: and right" guest_is_right wild "$nonce"
  # Xen never forgets how high a frame number once was.
  [[ $kind != pvh ]] || refused wild "maps a page at 512 GiB" frames 1 "claims 134217729 frames"
  guest_stop wild
}

# A kernel that does as it likes with a request to suspend.
false_guest() {
  local domid
  check "$kind: a false guest starts" small_guest false ignore=1
  refused false "writes a request of its own" request 11 'holds '\''x\u{a}ckpt: all is well\u{1b}[2J'
  check "$kind writes its request without a break: the guest does it" do_deed false hammer
  check "$kind writes its request without a break: it is not taken" refuses_either 1 11 ckpt take false
  do_deed false mend
  afterwards "$kind writes its request without a break" "$(guest_domid false)"
  check "$kind answers with junk, and suspends unprepared: the guest will" do_deed false answer_junk
  if [[ $kind == pv ]]; then
    check "$kind answers with junk, and suspends unprepared: it is not taken" refuses 1 "cannot be saved" ckpt take false
  else
    check "$kind answers with junk, and suspends unprepared: it is taken, a PVH guest has nothing to prepare" ckpt take false
  fi
  check "$kind answers with junk, and suspends unprepared: it runs on" guest_goes_on false
  do_deed false mend
  refused false "answers, and suspends when it was given up" answer_late 1 "did not suspend in 45 s"
  refused false "goes wild when it is asked" answer_wild 1 "frames, at most"

  domid=$(guest_domid false)
  check "$kind suspends by itself: the guest does it" do_deed false suspend
  check "$kind suspends by itself: it stands" until_true 20 is_in_state false s
  check "$kind suspends by itself: it is not taken" refuses 1 "suspended already" ckpt take false
  check "$kind suspends by itself: nobody resumes what we did not suspend" ckpt recover false
  check "$kind suspends by itself: it stands still" is_in_state false s
  afterwards "$kind suspends by itself" "$domid"
  guest_stop false
}

# A kernel that stands still and reads nothing of its store, while thousands of writes wait for it there. oxenstored then never answers
# again who wrote to it.
deaf() {
  local domid node pairs=() turn
  check "$kind hangs: a guest starts" small_guest deaf
  domid=$(guest_domid deaf)
  check "$kind hangs: the guest will" do_deed deaf hang
  sleep 5
  node=/local/domain/$domid/control/shutdown
  for ((turn = 0; turn < 500; turn++)); do pairs+=("$node" ""); done
  for turn in 1 2 3 4 5 6; do timeout 20 xenstore-write "${pairs[@]}" || break; done
  # Its guard has something to say, too.
  check "$kind hangs: it is not taken, and nobody waits for ever" \
    eval 'timeout 120 ckpt take deaf >/run/lab/deaf 2>&1; code=$?; cat /run/lab/deaf; ((code == 1)) && grep "^ckpt: .*answer" /run/lab/deaf'
  check "$kind hangs: the honest guest is taken right after" timeout 60 ckpt take honest
  check "$kind hangs: recover comes to its end" eval 'timeout 200 ckpt recover; (($? != 124))'
  check "$kind hangs: the honest guest is taken after that" timeout 60 ckpt take honest
  check "$kind hangs: it can be destroyed" eval 'timeout 60 xl destroy deaf; until_true 30 is_gone deaf'
  check "$kind hangs: nothing is left" until_true 60 nothing_is_left "$domid"
}

# A kernel that answers a request with its own end.
ends() {
  local domid disk
  disk=$(ckpt disk create crashing xvda --size 16M)
  guest_config "$kind" crashing memory=128 area=4 rate=1 stamps=5 ignore=1 disks="phy:$disk,xvda,w" >/dev/null
  sed -i 's/^on_crash = .*/on_crash = "preserve"/' /run/lab/crashing.cfg
  check "$kind crashes when it is asked: a guest starts" guest_boot crashing
  check "$kind crashes when it is asked: it will" do_deed crashing answer_crash
  check "$kind crashes when it is asked: it is not taken" refuses 1 "crashed meanwhile" ckpt take crashing
  check "$kind crashes when it is asked: it has" is_in_state crashing c
  afterwards "$kind crashes when it is asked" "$(guest_domid crashing)"
  xl destroy crashing

  check "$kind powers off when it is asked: a guest starts" small_guest leaving ignore=1
  domid=$(guest_domid leaving)
  check "$kind powers off when it is asked: it will" do_deed leaving answer_poweroff
  check "$kind powers off when it is asked: it is not taken" refuses 1 "meanwhile" ckpt take leaving
  check "$kind powers off when it is asked: xl takes it away" until_true 60 is_gone leaving
  check "$kind powers off when it is asked: no note of ours outlives it" \
    until_true 20 not xenstore-exists "/local/domain/$domid"
  afterwards "$kind powers off when it is asked" "$domid"
}

kind=$1
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
check "$kind: an honest guest starts" small_guest honest
honest=$(guest_nonce honest)
for guest in "${@:2}"; do "$guest"; done
check "$kind: the honest guest is right after all that" guest_is_right honest "$honest"
check "$kind: and goes back to its first epoch" ckpt restore honest 1 --yes --no-safety
check "$kind: where it is right" guest_is_right honest "$honest"
lab_finish
