# Sourced by soak-probe-pv.sh and probe-pvh.sh with the kind of guest; each has a machine of its own.
#
# The probe guest itself, on plain xl: it is right after an honest save and restore, and it finds the faults that a
# checkpoint could have. All other scenarios lean on this one.

folder=/var/lib/lab-probe
mkdir -p "$folder"

same_files() { cmp "$1" "$2"; }

restored_is_right() { # NAME IMAGE NONCE
  xl restore "$folder/$1.cfg" "$2" && guest_is_right "$1" "$3"
}

found() { # NAME KEY: the probe reports at least one error of this kind
  local answer
  answer=$(guest_ask "$1") || return
  echo "$answer"
  (($(answer_field "$answer" "$2") > 0)) && [[ $(answer_field "$answer" first_error) != none ]]
}

put_disks_back() { cp --sparse=always "$folder/a.$1" "$folder/a" && cp --sparse=always "$folder/b.$1" "$folder/b"; }
keep_disks() { cp --sparse=always "$folder/a" "$folder/a.$1" && cp --sparse=always "$folder/b" "$folder/b.$1"; }

xl_cycle() { # KIND
  local kind=$1 nonce
  local disks="raw:$folder/a,xvda,w;raw:$folder/b,xvdb,w"
  ext4_disk "$folder/a" 32 && raw_disk "$folder/b" 8
  check "$kind: starts and answers" guest_start "$kind" "$kind" disks="$disks" area=32
  cp "/run/lab/$kind.cfg" "$folder/"
  nonce=$(guest_nonce "$kind")
  check "$kind: right from the start" guest_is_right "$kind" "$nonce"
  check "$kind: walks and stamps" guest_goes_on "$kind"
  check "$kind: another nonce is not right" not guest_is_right "$kind" 0123

  check "$kind: xl save -c" xl save -c "$kind" "$folder/live"
  check "$kind: right after xl save -c" guest_is_right "$kind" "$nonce"
  check "$kind: walks and stamps after xl save -c" guest_goes_on "$kind"

  check "$kind: xl save" xl save "$kind" "$folder/image"
  check "$kind: gone after xl save" until_true 60 guest_is_gone_by_name "$kind"
  keep_disks saved
  check "$kind: right after xl restore" restored_is_right "$kind" "$folder/image" "$nonce"
  check "$kind: walks and stamps after xl restore" guest_goes_on "$kind"
  guest_stop "$kind"
  keep_disks later

  # The disks went on after the image was made: only the stamps can tell.
  check "$kind: an older image with today's disks restores" xl restore -e "$folder/$kind.cfg" "$folder/image"
  check "$kind: a disk younger than memory is found" found "$kind" stamp_errors
  guest_stop "$kind"

  # Both from the same moment again: the fault above came from the disks, not from restoring twice.
  put_disks_back saved
  check "$kind: right with the disks of its moment" restored_is_right "$kind" "$folder/image" "$nonce"
  check "$kind: xl save, later" xl save "$kind" "$folder/image-2"
  until_true 60 guest_is_gone_by_name "$kind"
  keep_disks now

  # One disk of the image's moment, the other from before.
  cp --sparse=always "$folder/a.now" "$folder/a" && cp --sparse=always "$folder/b.saved" "$folder/b"
  check "$kind: a younger image with one old disk restores" xl restore -e "$folder/$kind.cfg" "$folder/image-2"
  check "$kind: one disk older than memory is found" found "$kind" stamp_errors
  guest_stop "$kind"

  # One page of the image set back by one lap.
  put_disks_back now
  check "$kind: the image can be torn" python3 /lab/tear-image.py "$folder/image-2" "$folder/torn"
  check "$kind: a torn image restores" xl restore -e "$folder/$kind.cfg" "$folder/torn"
  check "$kind: torn memory is found" found "$kind" walk_errors
  guest_stop "$kind"
  rm -f "$folder"/*
}

request_of() { xenstore-read "/local/domain/$(guest_domid "$1")/control/shutdown"; }
ask_to_suspend() { xenstore-write "/local/domain/$(guest_domid "$1")/control/shutdown" suspend; }
request_is() { [[ $(request_of "$1") == "$2" ]]; }

# Guests that do not follow a request to suspend, for scenarios of refusal.
unwilling() { # KIND
  local kind=$1 nonce
  check "$kind: a guest that will ignore a suspend starts" guest_start "$kind" "$kind" area=8 rate=1 ignore=1
  nonce=$(guest_nonce "$kind")
  ask_to_suspend "$kind"
  sleep 5
  check "$kind: the request stands unread" request_is "$kind" suspend
  check "$kind: and the guest works on" guest_is_right "$kind" "$nonce"
  guest_stop "$kind"

  check "$kind: a guest that will refuse a suspend starts" guest_start "$kind" "$kind" area=8 rate=1 refuse=1
  nonce=$(guest_nonce "$kind")
  ask_to_suspend "$kind"
  check "$kind: the request is acknowledged" until_true 20 request_is "$kind" ''
  sleep 5 # probe.freeze_timeout is 2 s
  check "$kind: the guest gave the suspend up and works on" guest_is_right "$kind" "$nonce"
  guest_stop "$kind"
}

not() { ! "$@"; }
guest_is_gone_by_name() { ! guest_domid "$1" >/dev/null; }

unwilling "$1"
xl_cycle "$1"
lab_finish
