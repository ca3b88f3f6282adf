# Sourced by faults-*.sh and soak-faults-*.sh: a guest whose takes are broken in each phase, each in every way that is named, and
# what must hold whatever happened: the guest runs, no device is suspended, older epochs are whole and one goes back right, the
# next take is right, and nothing of the broken one is left. Sets up a store of its own on /dev/vde, whose disk can fail.

fault_phases=(probe reserve arm precopy request freeze copy disks resume write publish)
declare -A matrix=()
limit=3 # seconds that a guest may be held

store=/run/lab/fault-store
fault=/run/lab/fault

store_make() {
  local sectors
  sectors=$(blockdev --getsz /dev/vde)
  dmsetup create labstore --noudevsync --table "0 $sectors linear /dev/vde 0" &&
    dmsetup mknodes labstore && mkfs.ext4 -q -F -m 0 /dev/mapper/labstore &&
    mkdir -p "$store" && mount /dev/mapper/labstore "$store"
}
store_table() { # linear /dev/vde 0 | error
  dmsetup suspend --noflush --nolockfs --noudevsync labstore && dmsetup load labstore --table "0 $(blockdev --getsz /dev/vde) $*" &&
    dmsetup resume --noudevsync labstore
}
store_mend() { # the file system that lost its disk is mounted anew
  store_table linear /dev/vde 0
  umount "$store" && { e2fsck -fp /dev/mapper/labstore >/dev/null; (($? < 4)); } && mount /dev/mapper/labstore "$store"
}

state_of() { xl list "$1" 2>/dev/null | awk 'NR == 2 {print $5}'; }
stands() { [[ $(state_of "$1") == *s* ]]; }
runs() { [[ $(state_of "$1") == [rb-]*([-rb]) ]]; }
no_device_is_suspended() { ! dmsetup info -c --noheadings -o name,suspended | grep -i ':suspended'; }
goes_on_writing() { # as its disk shows; DISK is the guest's
  local statistics before
  statistics=/sys/block/dm-$(dmsetup info -c --noheadings -o minor "$disk")/stat
  before=$(awk '{print $5}' "$statistics")
  sleep 1
  (($(awk '{print $5}' "$statistics") > before))
}
process_is_gone() { ! kill -0 "$1" 2>/dev/null; }

# What breaks a take that has reached its phase; `engine` and `guard` are its processes. Sets `code` to what the take ended with, or
# - when it was killed.
let_go() { : >$fault/go; }
take_ends() {
  code=0
  wait "$engine" || code=$?
}
death() {
  kill -KILL "$engine"
  wait "$engine" 2>/dev/null
  code=-
}
fault_kill() { death; }
fault_both() {
  [[ -z $guard ]] || kill -KILL "$guard"
  death
  check "$cell: the daemon's first act" ckpt recover "$kind"
}
fault_silent() { # whoever is to let the guest go cannot ask xenstored; neither can xl
  local daemon
  daemon=$(pgrep -x 'o?xenstored')
  kill -STOP "$daemon"
  death
  check "$cell: the guest runs though xenstored is silent" until_true 40 goes_on_writing
  kill -CONT "$daemon"
}
fault_stop() {
  kill -STOP "$engine"
  check "$cell: the guest runs without its engine" until_true $((limit + 4)) runs "$kind"
  check "$cell: and its disks" no_device_is_suspended
  let_go
  kill -CONT "$engine"
  take_ends
}
fault_hang() {
  check "$cell: the guest runs though the take hangs" until_true $((limit + 4)) runs "$kind"
  death
}
fault_enospc() {
  fallocate -l "$(df -B1 --output=avail "$store" | tail -1)" "$store/filler" 2>/dev/null || dd if=/dev/zero of="$store/filler" bs=1M status=none 2>/dev/null
  let_go
  take_ends
  rm -f "$store/filler"
}
fault_eio() {
  store_table error
  let_go
  take_ends
  check "$cell: the store's disk is back" store_mend
}
fault_dm() { # the pool refuses the snapshot: the thin id is taken
  local first id made=()
  first=$(sed -n 's/.*"next_thin_id" *: *\([0-9]*\).*/\1/p' "$store/pools/main/catalog.json")
  for ((id = first - 1; id <= first; id++)); do
    if dmsetup message ckpt-main-pool 0 "create_thin $id" 2>/dev/null; then made+=("$id"); fi
  done
  let_go
  take_ends
  for id in "${made[@]}"; do dmsetup message ckpt-main-pool 0 "delete $id" 2>/dev/null; done
}
fault_refuse() { # the next step finds that it may not
  local domid
  domid=$(guest_domid "$kind")
  case $phase in
    probe) flock -o -x "$(echo "$store"/????????-*/lock)" sleep 30 & holder=$! && sleep 0.5 ;;
    reserve) xenstore-write "/local/domain/$domid/control/feature-suspend" 0 ;;
    *) xenstore-write "/local/domain/$domid/ckpt/pause" "$$ $(awk '{print $22}' /proc/$$/stat) -" ;;
  esac
  let_go
  take_ends
  case $phase in
    probe) kill "$holder" 2>/dev/null; wait "$holder" 2>/dev/null ;;
    reserve) xenstore-write "/local/domain/$domid/control/feature-suspend" 1 ;;
    *) xenstore-write "/local/domain/$domid/ckpt/pause" '' ;;
  esac
  check "$cell: it was refused, as busy or as a guest that cannot (status $code)" test "$code" = 1 -o "$code" = 11
}
can_break() { # FAULT PHASE
  [[ $1 != refuse || $2 == @(probe|reserve|precopy) ]]
}

nothing_is_left() { # KIND: of the broken take, when the next one has ended
  local domid left
  domid=$(guest_domid "$1")
  left=$(find "$store" -name '*.partial')
  [[ -z $left ]] || { echo "$left"; return 1; }
  [[ -z $(xenstore-read "/local/domain/$domid/ckpt/pause" 2>/dev/null) ]] || { echo "a note of a pause"; return 1; }
  [[ $(xenstore-read "/local/domain/$domid/ckpt/tracking" 2>/dev/null) != owed* ]] || { echo "a log of dirty pages"; return 1; }
  [[ $(ckpt pool show main --json | json_number snapshots) == "$(epochs_of "$1" | wc -l)" ]] || { ckpt pool show main; return 1; }
  ! pgrep -ax ckpt-guard
}

# A take that ended before it shows nothing.
gets_there() { # PID
  until_true 60 test -e $fault/reached -o ! -d "/proc/$1"
  [[ -e $fault/reached ]] || { cat /run/lab/broken; return 1; }
}

cell() { # KIND FAULT PHASE
  local kind=$1 how=$2 phase=$3 cell="$1 $2 in $3" before after epoch engine guard code=- failed=$lab_failed
  before=$(epochs_of "$kind")
  rm -rf $fault && mkdir -p $fault
  CKPT_FAULT=$phase=$fault ckpt take "$kind" >/run/lab/broken 2>&1 &
  engine=$!
  check "$cell: the take gets there" gets_there "$engine"
  guard=$(pgrep -P "$engine" -x ckpt-guard)
  [[ -z $guard ]] || echo "      | guard: $(grep VmRSS "/proc/$guard/status" | xargs)"
  "fault_$how"
  check "$cell: the guest runs (take: $code)" until_true 2 runs "$kind"
  check "$cell: no device is suspended" until_true 2 no_device_is_suspended
  [[ -z $guard ]] || check "$cell: its guard ends" until_true 5 process_is_gone "$guard"
  after=$(epochs_of "$kind")
  case $code in
    0) check "$cell: what was acknowledged is there" test "$(wc -l <<<"$after")" = $(($(wc -l <<<"$before") + 1)) ;;
    1 | 11) check "$cell: what was refused is not there: $(tail -n 1 /run/lab/broken)" test "$after" = "$before" ;;
    -) ;;
    *) check "$cell: ends with a documented status: $code, $(tail -n 1 /run/lab/broken)" false ;;
  esac
  check "$cell: older epochs are whole" ckpt verify "$kind"
  check "$cell: the next take" eval "ckpt take $kind --json >/run/lab/taken"
  check "$cell: nothing is left" until_true 2 nothing_is_left "$kind"
  for epoch in "$(shuf -n 1 <<<"$before")" "$(json_number epoch </run/lab/taken)"; do
    check "$cell: back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
    check "$cell: right in epoch $epoch" guest_is_right "$kind" "$nonce"
  done
  # The pool is small: old epochs go, the first stays as the oldest.
  ckpt prune "$kind" --keep-last 3 --yes >/dev/null || check "$cell: prune" false
  ((lab_failed == failed)) && matrix[$how,$phase]=ok || matrix[$how,$phase]=FAIL
}

show_matrix() { # FAULT…
  local how phase
  printf '%-8s' ''
  printf '%-8s' "${fault_phases[@]}"
  echo
  for how in "$@"; do
    printf '%-8s' "$how"
    for phase in "${fault_phases[@]}"; do printf '%-8s' "${matrix[$how,$phase]:--}"; done
    echo
  done
}

faults() { # KIND 'FAULT…' 'PHASE…'
  local kind=$1 nonce how phase disk
  export CKPT_STORE=$store CKPT_CONFIG=/run/lab/ckpt.conf
  printf '%s\n' "tracking = continuous" "staging = 32M" "max-pause = $limit" >"$CKPT_CONFIG"
  check "a store whose disk can fail" store_make
  mountpoint -q "$store" || return
  ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
  disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
  check "$kind starts" guest_start "$kind" "$kind" memory=128 area=16 rate=4 stamps=5 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$kind")
  check "a first epoch" ckpt take "$kind"
  check "a second" ckpt take "$kind"
  for how in $2; do
    for phase in $3; do
      ! can_break "$how" "$phase" || cell "$kind" "$how" "$phase"
    done
  done
  echo "$kind"
  show_matrix $2
}

# The host's power goes while a take stands in a phase: the emulator is killed and started from its disks (status 222), once for each
# phase. What is to be remembered lies on dom0's root, synced; nothing else is.
power_state=/var/lib/lab-power

power_cut_in() { # KIND PHASE: does not come back
  local kind=$1 phase=$2 engine
  rm -rf $fault && mkdir -p $fault
  CKPT_FAULT=$phase=$fault setsid ckpt take "$kind" >/run/lab/broken 2>&1 &
  engine=$!
  check "$kind power in $phase: the take gets there" gets_there "$engine"
  printf '%s\n' "$phase" >$power_state/phase
  epochs_of "$kind" >$power_state/before
  sync -f $power_state
  exit 222
}

power_is_back() { # KIND NONCE PHASE
  local kind=$1 nonce=$2 phase=$3 cell="$1 power in $3" before after epoch
  before=$(cat $power_state/before)
  check "$cell: the store comes back" mount /dev/vde "$store"
  check "$cell: the disks come back" ckpt pool start
  check "$cell: the daemon's first act" ckpt recover
  check "$cell: no device is suspended" no_device_is_suspended
  after=$(epochs_of "$kind")
  check "$cell: no epoch is lost ($(xargs <<<"$before") | $(xargs <<<"$after"))" test "$before" = "$(head -n "$(wc -l <<<"$before")" <<<"$after")"
  check "$cell: all are whole" ckpt verify "$kind"
  epoch=$(shuf -n 1 <<<"$before")
  check "$cell: back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
  check "$cell: right in epoch $epoch" guest_is_right "$kind" "$nonce"
  check "$cell: the next take" eval "ckpt take $kind --json >/run/lab/taken"
  check "$cell: nothing is left" until_true 2 nothing_is_left "$kind"
  epoch=$(json_number epoch </run/lab/taken)
  check "$cell: back to epoch $epoch" ckpt restore "$kind" "$epoch" --yes --no-safety
  check "$cell: right in epoch $epoch" guest_is_right "$kind" "$nonce"
  ckpt prune "$kind" --keep-last 3 --yes >/dev/null || check "$cell: prune" false
}

power() { # KIND PHASE…
  local kind=$1 last=none phase disk
  shift
  mkdir -p /run/lab $power_state "$store"
  export CKPT_STORE=$store CKPT_CONFIG=/run/lab/ckpt.conf
  printf '%s\n' "tracking = continuous" "staging = 32M" "max-pause = 60" >"$CKPT_CONFIG"
  if [[ ! -e $power_state/nonce ]]; then
    mkfs.ext4 -q -F /dev/vde && mount /dev/vde "$store"
    ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
    disk=$(ckpt disk create "$kind" xvda --size 64M | tail -n 1)
    check "$kind starts" guest_start "$kind" "$kind" memory=128 area=16 rate=4 stamps=5 disks="phy:$disk,xvda,w"
    guest_nonce "$kind" >$power_state/nonce
    check "a first epoch" ckpt take "$kind"
    check "a second" ckpt take "$kind"
  else
    last=$(cat $power_state/phase)
    power_is_back "$kind" "$(cat $power_state/nonce)" "$last"
  fi
  for phase in "$@"; do
    [[ $last == none ]] || { [[ $phase != "$last" ]] || last=none; continue; }
    power_cut_in "$kind" "$phase"
  done
}
