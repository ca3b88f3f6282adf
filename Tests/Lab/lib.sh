# Sourced by every scenario, in dom0: checks, and probe guests to check on.
# A scenario says what it found with `check`, and ends with `lab_finish`.

lab_passed=0 lab_failed=0 lab_last_check=$SECONDS

# check TEXT COMMAND…: one line per check, with the seconds since the one before; what a failed command printed stands below it.
check() {
  local text=$1 output status=0 seconds
  shift
  output=$("$@" 2>&1) || status=$?
  seconds=$((SECONDS - lab_last_check)) lab_last_check=$SECONDS
  ((seconds < 5)) || text+=" [$seconds s]"
  if ((status == 0)); then
    ((++lab_passed))
    echo "ok    $text"
  else
    ((++lab_failed))
    echo "FAIL  $text ($* returned $status)"
    [[ -z $output ]] || sed 's/^/      | /' <<<"$output"
  fi
}

# refuses STATUS WORDS COMMAND…: the command fails with this status and one line on stderr that holds the words.
refuses() {
  local status=$1 words=$2 text code=0
  shift 2
  text=$("$@" 2>&1 >/dev/null </dev/null) || code=$?
  echo "status $code: $text"
  [[ $code == "$status" && $(wc -l <<<"$text") == 1 && $text == ckpt:* && $text == *"$words"* ]]
}

# json_number KEY: the first number of that key in ckpt's JSON on standard input.
json_number() { sed -n "s/^ *\"$1\" : \([0-9.]*\),*$/\1/p" | head -1; }

# The numbers of a guest's epochs, a line each, ascending: epochs_of NAME.
epochs_of() { ckpt list "$1" --json | sed -n 's/^ *"epoch" : \([0-9]*\),*$/\1/p' | sort -nu; }

lab_finish() {
  # What Xen and the guests' consoles said last explains many a failure.
  if ((lab_failed > 0)); then
    xl dmesg | sed '1,/Freed .* init memory/d' | tail -n 60 | sed 's/^/      /'
    # Where a program of ours fell over.
    dmesg | grep -E 'traps:|segfault|general protection' | tail -n 20 | sed 's/^/      /'
    tail -n 15 /var/log/xen/console/guest-*.log | sed 's/^/      /'
  fi
  echo "$lab_passed passed, $lab_failed failed"
  ((lab_failed == 0 && lab_passed > 0))
  exit
}

# until_true SECONDS COMMAND…: tries again and again until the command succeeds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# The words of a probe's answer: answer_field LINE KEY.
answer_field() {
  local word
  for word in $1; do
    [[ $word != "$2="* ]] || { echo "${word#*=}"; return 0; }
  done
  return 1
}

# As on a host, udevd beside device-mapper, which LVM waits for. Once after each boot; the lab starts none, for it costs time.
start_udevd() {
  mkdir -p /run/udev && /lib/systemd/systemd-udevd --daemon && udevadm trigger --action=add && udevadm settle --timeout=120
}

guest_domid() { xl domid "$1" 2>/dev/null; }

# guest_config KIND NAME [KEY=VALUE…]: writes /run/lab/NAME.cfg and prints its name.
#   memory= (MiB) vcpus=     as in xl
#   uuid=                    for a guest that is to be the same after another `xl create`, which else gives it a new one
#   disks=                   xl disk specifications, ';' between them, in the order xvda, xvdb, …
#   area= rate= stamps= busy=   the probe's memory area (MiB), its dirtying rate (MiB/s), stamps per second, busy threads
#   forks=                   threads that fork without a break: children map, fill, unmap and check memory, and end
#   module=1                 with our guest module (Tools/guest-module): it offers a suspend event channel
#   ignore=1 refuse=1        a guest that never hears a suspend request; one that acknowledges it and cannot follow
#   extra=                   more words for the kernel command line
guest_config() {
  local kind=$1 name=$2 config=/run/lab/$2.cfg word line disk list= count=0 extra=
  shift 2
  local memory=256 vcpus=1 uuid= disks= area=64 rate=8 stamps=20 busy=0 forks=0 module=0 ignore=0 refuse=0
  for word in "$@"; do
    [[ $word =~ ^(memory|vcpus|uuid|disks|area|rate|stamps|busy|forks|module|ignore|refuse|extra)= ]] || { echo "guest_config: $word?" >&2; return 1; }
    local "$word"
  done
  local IFS=';'
  for disk in $disks; do
    list+="'$disk', "
    ((++count))
  done
  unset IFS
  line="probe.area=$area probe.rate=$rate probe.stamps=$stamps probe.busy=$busy probe.disks=$count"
  line+=" probe.forks=$forks probe.module=$module"
  # The guest's kernel then sets up no handler for shutdown requests at all.
  ((ignore == 0)) || line+=" probe.ignore_suspend=1 initcall_blacklist=xen_setup_shutdown_event"
  ((refuse == 0)) || line+=" probe.refuse_suspend=1"
  mkdir -p /run/lab
  sed -e "s/^name = .*/name = \"$name\"/" -e "s/^memory = .*/memory = $memory/" -e "s/^vcpus = .*/vcpus = $vcpus/" \
    -e "s/probe\.area=[0-9]*/$line${extra:+ $extra}/" "/lab/guests/$kind.cfg" >"$config"
  echo "disk = [ ${list%, } ]" >>"$config"
  [[ -z $uuid ]] || echo "uuid = \"$uuid\"" >>"$config"
  echo "$config"
}

# guest_start KIND NAME [KEY=VALUE…]: as guest_config; returns when the probe in it answers.
guest_start() { guest_config "$@" >/dev/null && guest_boot "$2"; }

# guest_boot NAME: the same with the configuration as it stands, for who changed what guest_config wrote.
guest_boot() {
  xl create -q "/run/lab/$1.cfg" || return
  if ! guest_ask "$1" 300 quick >/dev/null; then
    guest_console "$1" >&2
    return 1
  fi
}

# guest_ask NAME [SECONDS] [quick|load|unload|do:WORD]: prints the probe's answer to a new question. It checks all memory and disks
# before it answers, unless quick. load and unload are for our guest module, do: for the hostile one (then quick).
guest_ask() {
  local name=$1 limit=${2:-60} domid question answer deadline
  domid=$(guest_domid "$name") || { echo "guest_ask: no guest $name" >&2; return 1; }
  question=${3:-full}-$RANDOM$RANDOM$RANDOM
  deadline=$((SECONDS + limit))
  xenstore-write "/local/domain/$domid/data/ask" "$question" || return
  while ((SECONDS < deadline)); do
    answer=$(xenstore-read "/local/domain/$domid/data/answer" 2>/dev/null) || true
    if [[ $answer == "$question "* ]]; then
      echo "${answer#* }"
      return 0
    fi
    xenstore-exists "/local/domain/$domid/data" 2>/dev/null || { echo "guest_ask: $name is gone" >&2; return 1; }
    sleep 0.1
  done
  echo "guest_ask: $name did not answer within $limit s" >&2
  return 1
}

# guest_is_right NAME NONCE: it answers, it is the guest that had this nonce, and it found nothing wrong. Prints the answer if not.
guest_is_right() {
  local answer
  answer=$(guest_ask "$1") || return
  echo "$answer"
  [[ $(answer_field "$answer" nonce) == "$2" && $(answer_field "$answer" walk_errors) == 0 &&
    $(answer_field "$answer" stamp_errors) == 0 && $(answer_field "$answer" stuck) == 0 ]]
}

# guest_goes_on NAME: its walker and stamper move.
guest_goes_on() {
  local before after
  before=$(guest_ask "$1" 60 quick) || return
  sleep 2
  after=$(guest_ask "$1" 60 quick) || return
  printf '%s\n' "$before" "$after"
  [[ $(answer_field "$before" gen),$(answer_field "$before" cursor) != $(answer_field "$after" gen),$(answer_field "$after" cursor) ]] &&
    (($(answer_field "$before" disks) == 0 || $(answer_field "$before" stamps) < $(answer_field "$after" stamps)))
}

# guest_nonce NAME
guest_nonce() { answer_field "$(guest_ask "$1" 60 quick)" nonce; }

# Asks again and again until the guest is gone; FILE has how many questions it had answered by then.
hear_last_words() { # DOMID FILE
  local home=/local/domain/$1/data answer
  while xenstore-exists "/local/domain/$1/vm" 2>/dev/null; do
    xenstore-write "$home/ask" "quick-last$RANDOM$RANDOM" 2>/dev/null || break
    sleep 0.05
    answer=$(xenstore-read "$home/answer" 2>/dev/null) && answer_field "$answer" answers >"$2.new" && mv "$2.new" "$2"
  done
  # What was asked of a guest that went at that moment.
  xenstore-exists "/local/domain/$1/vm" 2>/dev/null || xenstore-rm "/local/domain/$1" 2>/dev/null || true
}
# rolled_back NAME EPOCH FILE: under these questions.
rolled_back() {
  local listener status=0
  hear_last_words "$(guest_domid "$1")" "$3" &
  listener=$!
  until_true 20 test -s "$3" && ckpt restore "$1" "$2" --yes || status=1
  ((status == 0)) || kill "$listener"
  wait "$listener"
  return $status
}
knows_its_last_words() { # NAME FILE: the first question since it came back
  local answers
  answers=$(answer_field "$(guest_ask "$1" 60 quick)" answers)
  echo "it had answered $(cat "$2") questions before it was destroyed, and now $answers"
  (($(cat "$2") > 0 && answers > $(cat "$2")))
}

# The guest's console, as xenconsoled logged it.
guest_console() { tail -n "${2:-40}" "/var/log/xen/console/guest-$1.log"; }

# frontends_states NAME: one "device/vbd/51712 4" per frontend; 4 is connected.
frontends_states() {
  local home state
  home=/local/domain/$(guest_domid "$1")
  for state in $(xenstore-list -p "$home/device" 2>/dev/null | tail -n +1); do
    local device
    for device in $(xenstore-list "$state" 2>/dev/null); do
      [[ ! $(xenstore-read "$state/$device/state" 2>/dev/null) =~ ^[0-9]+$ ]] ||
        echo "${state#"$home"/}/$device $(xenstore-read "$state/$device/state")"
    done
  done
}

no_reconnect_since() { # LINES: blkback has not connected anew since dom0's log had so many lines
  ! dmesg | tail -n "+$(($1 + 1))" | grep -E 'blkback.*(ring-ref|using [0-9]+ queues)'
}

all_connected() { # NAME: every frontend is in state 4, and there are some
  local states
  states=$(frontends_states "$1")
  echo "$states"
  [[ -n $states && -z $(grep -v ' 4$' <<<"$states") ]]
}

only_connected_in() { # FILE of states seen by watch_states
  cat "$1"
  [[ -s $1 && -z $(grep -vx 4 "$1") ]]
}

# Every value that the frontends' state nodes take until the function is told to stop.
watch_states() { # NAME FILE
  local domid device
  domid=$(guest_domid "$1")
  : >"$2"
  for device in $(frontends_states "$1" | cut -d' ' -f1); do
    xenstore-watch "/local/domain/$domid/$device/state" | while read -r node; do
      xenstore-read "$node" >>"$2"
    done &
  done
}

file_system_is_clean() { # DEVICE of a guest that is gone: its journal replayed, then checked without repair
  mkdir -p /run/lab/mnt && mount "$1" /run/lab/mnt && umount /run/lab/mnt && e2fsck -fn "$1"
}

# guest_stop NAME: destroys it and waits until nothing is left of it. Fine when it is gone already.
guest_stop() {
  local domid
  domid=$(guest_domid "$1") || return 0
  xl destroy "$1" || return
  until_true 60 guest_is_gone "$domid"
}

guest_is_gone() {
  ! xl list "$1" >/dev/null 2>&1 && ! xenstore-exists "/local/domain/0/backend/vbd/$1" 2>/dev/null
}

# create_thins POOL FIRST COUNT: as `dmsetup message POOL 0 "create_thin ID"`, without thousands of processes.
create_thins() {
  python3 - "$@" <<'PYTHON'
import fcntl, struct, sys
name, first, count = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3])
target_msg = 3 << 30 | 312 << 16 | 0xfd << 8 | 14  # DM_TARGET_MSG, linux/dm-ioctl.h
with open("/dev/mapper/control", "rb") as control:
    for thin in range(first, first + count):
        head = struct.pack("<3I2IIiIIIQ128s129s7x", 4, 0, 0, 1024, 312, 0, 0, 0, 0, 0, 0, name, b"")
        message = struct.pack("<Q", 0) + b"create_thin %d\0" % thin
        fcntl.ioctl(control, target_msg, bytearray((head + message).ljust(1024, b"\0")))
PYTHON
}

# raw_disk PATH MIB / ext4_disk PATH MIB: a blank image file in dom0, for disks=.
raw_disk() { rm -f "$1" && truncate -s "$2M" "$1"; }
ext4_disk() { raw_disk "$@" && mkfs.ext4 -q -F "$1"; }
