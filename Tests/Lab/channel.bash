# Sourced by soak-channel-*.sh and soak-no-channel-*.sh; each has a machine of its own.
#
# Both ways to ask for a suspend: the event channel that our guest module offers, and xenstore where a guest offers none, or
# none to be used. Nothing of a take stays behind: no subscription, no guest without its xl monitor.

channel_node() { echo "/local/domain/$(guest_domid "$1")/device/suspend/event-channel"; }
channel() { xenstore-read "$(channel_node "$1")"; }
offers() { [[ $(channel "$1") =~ ^[1-9][0-9]*$ ]]; }
offers_none() { [[ -z $(channel "$1") ]]; }
newest() { epochs_of "$1" | tail -n 1; }
is_gone() { ! guest_domid "$1" >/dev/null; }

suspended_by() { # NAME PATH: how its newest epoch was
  local path
  path=$(ckpt show "$1" "$(newest "$1")" --json | sed -n 's/^ *"suspend_path" : "\(.*\)",*$/\1/p')
  echo "epoch $(newest "$1") by $path"
  [[ $path == "$2" ]]
}
taken_by() { ckpt take "$1" && suspended_by "$@"; } # NAME PATH

says_why() { # NAME WORDS: the note that goes with the way by xenstore
  local text
  text=$(ckpt-bench floor "$1" --count 1) || return
  echo "$text"
  [[ $text == *path=xenstore* && $text == *"note: "*"$2"* ]]
}

# taken_while_its_channel_goes NAME: the module is unloaded between the look for a channel and the request.
taken_while_its_channel_goes() {
  local take
  rm -rf /run/lab/fault && mkdir -p /run/lab/fault
  CKPT_FAULT=precopy=/run/lab/fault ckpt take "$1" &
  take=$!
  until_true 60 test -e /run/lab/fault/reached || return
  guest_ask "$1" 60 unload >/dev/null
  until_true 20 offers_none "$1" || return
  : >/run/lab/fault/go
  wait "$take" && suspended_by "$1" xenstore
}

monitor_of() { pgrep -f "xl create .*/$1\.cfg"; }

# A request is one request however often it comes; one too many would leave the guest suspended with nobody there to resume it.
stays_up_under_repeated_requests() {
  ckpt-bench floor "$1" --count 3 --requests 5 && sleep 3 && [[ $(xl list "$1" | awk 'NR==2 {print $5}') != *s* ]] && guest_goes_on "$1"
}

# The lock that libxenguest takes while it saves: one byte, by fcntl.
hold_channel_lock() { # NAME
  local file=/var/run/xen/suspend-evtchn-$(guest_domid "$1").lock
  python3 -c '
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX, 1)
open(sys.argv[2], "w").close()
time.sleep(600)' "$file" "/run/lab/$1.held" &
  holder=$!
  until_true 20 test -e "/run/lab/$1.held"
}

with_module() { # KIND
  local kind=$1 name=$1-module disk nonce domid holder port
  disk=$(ckpt disk create "$name" xvda --size 64M)
  check "$name starts" guest_start "$kind" "$name" module=1 area=32 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$name") domid=$(guest_domid "$name")
  check "$name offers its channel" until_true 20 offers "$name"
  check "$name the doctor tells that it is asked through it" \
    eval "ckpt doctor --json | grep -F '$name: asked through its suspend event channel'"
  port=$(channel "$name")
  check "$name is taken through it" taken_by "$name" event-channel
  check "$name again" taken_by "$name" event-channel
  check "$name and again" taken_by "$name" event-channel
  check "$name still offers the same port: it was no new domain" test "$(channel "$name")" = "$port"
  check "$name stays up under repeated requests" stays_up_under_repeated_requests "$name"
  check "$name is right" guest_is_right "$name" "$nonce"

  hold_channel_lock "$name"
  check "$name is not taken while another tool holds the channel's lock" refuses 11 "busy" ckpt take "$name"
  check "$name has no epoch of that" test "$(newest "$name")" = 3
  check "$name was not asked" test -z "$(xenstore-read "/local/domain/$domid/control/shutdown")"
  check "$name runs on" guest_goes_on "$name"
  kill "$holder" && wait "$holder" 2>/dev/null
  check "$name is taken when the lock is free" taken_by "$name" event-channel

  check "$name goes back to epoch 2" ckpt restore "$name" 2 --yes --no-safety
  check "$name offers a channel in its new domain" until_true 30 offers "$name"
  check "$name is right there" guest_is_right "$name" "$nonce"
  check "$name is taken through it" taken_by "$name" event-channel
  check "$name is saved by xl through it" xl save -c "$name" /var/tmp/channel-save
  check "$name is taken after that" taken_by "$name" event-channel

  check "$name is taken by xenstore when its channel goes meanwhile" taken_while_its_channel_goes "$name"
  check "$name is right after that" guest_is_right "$name" "$nonce"
  check "$name takes its offer back with the module" until_true 20 offers_none "$name"
  check "$name is saved by xl by xenstore: nobody is subscribed to its suspend" xl save -c "$name" /var/tmp/channel-save
  check "$name is taken by xenstore" taken_by "$name" xenstore
  check "$name and the note says why" says_why "$name" "offers no suspend event channel"
  check "$name is saved by xl after that too" xl save -c "$name" /var/tmp/channel-save
  module_without_node "$name"
  guest_ask "$name" 60 load >/dev/null
  check "$name offers a channel when the module is back" until_true 20 offers "$name"
  check "$name is taken through it" taken_by "$name" event-channel
  check "$name is right" guest_is_right "$name" "$nonce"
  guest_stop "$name"
  rm -f /var/tmp/channel-save
}

module_without_node() { # NAME: without the module
  local node domid
  node=$(channel_node "$1") domid=$(guest_domid "$1")
  xenstore-rm "${node%/*}"
  check "$1 cannot load the module where the toolstack made no node" \
    test "$(answer_field "$(guest_ask "$1" 60 load)" module)" = 0
  check "$1 says so" eval 'guest_console '"$1"' 200 | grep "ckpt_suspend: cannot write device/suspend/event-channel"'
  xenstore-write "$node" '' && xenstore-chmod "$node" "b$domid"
}

without_module() { # KIND
  local kind=$1 name=$1-plain disk nonce garbage monitor
  disk=$(ckpt disk create "$name" xvda --size 64M)
  check "$name starts" guest_start "$kind" "$name" area=32 disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$name") monitor=$(monitor_of "$name")
  check "$name is taken by xenstore" taken_by "$name" xenstore
  check "$name and the note says why" says_why "$name" "offers no suspend event channel"
  for garbage in 12abc -1 99999999999 0; do
    xenstore-write -- "$(channel_node "$name")" "$garbage"
    check "$name with '$garbage' for a port is asked by xenstore, and the note says why" says_why "$name" "no port"
  done
  check "$name with '$garbage' for a port is taken by xenstore" taken_by "$name" xenstore
  # Ports that are numbers: one that nobody has, and one that is somebody else's.
  for garbage in 1000 1; do
    xenstore-write -- "$(channel_node "$name")" "$garbage"
    check "$name with port $garbage is asked by xenstore, and the note says why" says_why "$name" "port $garbage"
  done
  check "$name with port $garbage is taken by xenstore" taken_by "$name" xenstore
  check "$name is right" guest_is_right "$name" "$nonce"
  powers_off "$name" "$monitor"
}

powers_off() { # NAME MONITOR
  check "$1 still has its xl monitor" test -n "$2" -a "$(monitor_of "$1")" = "$2"
  check "$1 is told to power off" xl shutdown "$1"
  check "$1 and its monitor cleans up after it" until_true 90 is_gone "$1"
  check "$1 and ends" until_true 20 not kill -0 "$2"
}
not() { ! "$@" 2>/dev/null; }

monitor_survives_channel() { # KIND
  local kind=$1 name=$1-monitor disk monitor
  disk=$(ckpt disk create "$name" xvda --size 64M)
  check "$name starts" guest_start "$kind" "$name" module=1 area=8 disks="phy:$disk,xvda,w"
  monitor=$(monitor_of "$name")
  check "$name is taken" taken_by "$name" event-channel
  powers_off "$name" "$monitor"
}
