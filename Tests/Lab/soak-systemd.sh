#!/bin/bash
# A Debian host as people run it: systemd, Xen's own units, guests on a bridge that xendomains starts and saves. Our package comes onto it;
# the disks of a running guest are adopted; takes by hand, by unit, by timer and by schedule; ckptd is restarted, killed, stopped and
# upgraded in the middle of takes; the host restarts in order, once in a take, and loses its power in a pause; the package goes.
# init: systemd
# needs: packages
# time limit: 2400
set -uo pipefail
. /lab/lib.sh

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
state=/var/lib/lab-host # what is to be remembered from boot to boot
fault=/run/lab/fault
mkdir -p $state
# What the lab brings along would be found before what is installed.
rm -f /usr/local/bin/{ckpt,ckptd,ckpt-guard}

remember() { echo "$2" >"$state/$1"; } # WHAT VALUE
remembered() { cat "$state/$1"; }
leave() { # PHASE STATUS
  remember phase "$1"
  sync
  exit "$2"
}

are() { [[ $(systemctl is-active "${@:2}" | xargs) == "$1" ]] || { systemctl status --no-pager "${@:2}"; return 1; }; } # STATES UNIT…
doctor_is_content() { # warnings about units and the service end with status 0 as well
  ckpt doctor >/run/lab/doctor && ! grep -E '^(problem|warning) +(units|service|programs|libraries|kernel|pools)' /run/lab/doctor || { cat /run/lab/doctor; return 1; }
}
nothing_failed() { ! systemctl --failed --plain --no-legend | grep .; }
host_is_up() { # WHEN
  check "$1: systemd has nothing against it" eval 'systemctl is-system-running || { systemctl --failed --no-pager; systemctl list-jobs --no-pager; false; }'
  check "$1: Xen is up, by Debian's own units" eval 'are "active active" xen.service xendomains.service && pgrep -x oxenstored && xl list'
}
# said_in_the_last_boot FIRST SECOND: lines of the journal, in this order.
said_in_the_last_boot() {
  journalctl -b -1 --no-pager -o cat >/run/lab/journal
  awk -v first="$1" -v second="$2" '$0 ~ first {seen = 1} $0 ~ second {met = seen; exit} END {exit !met}' /run/lab/journal ||
    { grep -nE "ckptd|xendomains|Xen domain" /run/lab/journal | tail -n 40; return 1; }
}
next_version() { # VERSION: the same package under a higher number; prints its name
  local tree=/var/tmp/tree
  [[ -e $tree ]] || dpkg-deb -R /lab/packages/ckpt_*_amd64.deb $tree
  sed -i "s/^Version: .*/Version: $1/" $tree/DEBIAN/control
  dpkg-deb -Znone -b $tree "/var/tmp/ckpt-$1.deb" >/dev/null && echo "/var/tmp/ckpt-$1.deb"
}

# make_guest KIND NAME [KEY=VALUE…]: as guest_config, where an administrator has it, and started with the host.
make_guest() {
  guest_config "$@" >/dev/null && echo "vif = [ 'bridge=xenbr0' ]" >>"/run/lab/$2.cfg" && mv "/run/lab/$2.cfg" /etc/xen/ &&
    mkdir -p /etc/xen/auto && ln -sf "../$2.cfg" /etc/xen/auto/ && xl create -q "/etc/xen/$2.cfg" && guest_ask "$2" 300 quick
}
is_on_the_bridge() { ls /sys/class/net/xenbr0/brif; [[ -e /sys/class/net/xenbr0/brif/vif$(guest_domid "$1").0 ]]; }
is_right() { # NAME WHEN
  check "$2: $1 is right" guest_is_right "$1" "$(remembered "nonce-$1")"
  check "$2: $1 works on" guest_goes_on "$1"
  check "$2: $1 is on the bridge" until_true 10 is_on_the_bridge "$1"
}
newest_of() { epochs_of "$1" | tail -n 1; }
has_more_than() { local newest; newest=$(newest_of "$1"); echo "epoch $newest"; ((newest > $2)); } # NAME EPOCH
main_pid() { systemctl show -P MainPID ckptd; }
runs_anew() { echo "process $(main_pid), was $1"; (($(main_pid) > 0 && $(main_pid) != $1)) && are active ckptd.service; } # PID
state_of() { xl list "$1" 2>/dev/null | awk 'NR == 2 {print $5}'; }
runs() { state_of "$1"; [[ $(state_of "$1") == [rb-]*([-rb]) ]]; }
nothing_is_left() {
  ! dmsetup info -c --noheadings -o name,suspended | grep -i ':suspended' && ! find /var/lib/ckpt -name '*.partial' | grep . &&
    ! pgrep -ax ckpt-guard
}
is_well_after() { # WHAT
  check "$1: nothing is left" until_true 5 nothing_is_left
  is_right web "$1"
  check "$1: the next take" ckpt take web
}

# take_in PHASE: through ckptd, which stands still at the beginning of the phase; `take` is the command that waits.
take_in() {
  rm -rf $fault && mkdir -p $fault /run/systemd/system/ckptd.service.d
  printf '[Service]\nEnvironment=CKPT_FAULT=%s=%s\n' "$1" $fault >/run/systemd/system/ckptd.service.d/fault.conf
  systemctl daemon-reload
  systemctl restart ckptd
  ckpt take web >/run/lab/take.out 2>&1 &
  take=$!
  check "a take of web stands before: $1" until_true 60 test -e $fault/reached
  rm -r /run/systemd/system/ckptd.service.d # the next ckptd has no fault
  systemctl daemon-reload
}
let_go() { : >$fault/go; }
take_ends() { # STATUS TEXT
  local code=0
  wait "$take" || code=$?
  check "$2: $(tail -n 1 /run/lab/take.out)" test $code = "$1"
}

install() {
  cat >/etc/systemd/system/bridge.service <<'UNIT'
[Unit]
Before=network.target network-online.target xendomains.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link add xenbr0 type bridge && ip link set xenbr0 up'
[Install]
WantedBy=multi-user.target
UNIT
  systemctl enable --quiet --now bridge.service
  pvcreate -q /dev/vdc && vgcreate -q vg0 /dev/vdc && lvcreate -qy -Wn -L 64M -n web-root vg0 && mkfs.ext4 -q -F /dev/vg0/web-root
  check "a guest on a plain volume starts" make_guest pvh web uuid=1ab0ad09-0000-4000-8000-000000000001 memory=128 area=32 rate=2 disks="phy:/dev/vg0/web-root,xvda,w"
  remember nonce-web "$(guest_nonce web)"

  rmdir /var/lib/ckpt # the lab's
  check "the package installs" eval 'dpkg -i /lab/packages/ckpt_*_amd64.deb </dev/null'
  check "its service is at work" are "active active" ckptd.service ckptd.socket
  check "the doctor knows what to do first" eval 'ckpt doctor; ckpt doctor | grep "ckpt pool create"'
  check "a pool in the volume group" ckpt pool create --vg vg0 --size 50% --yes
  check "the running guest's disk comes into it" ckpt adopt web --config /etc/xen/web.cfg --write-config
  is_right web "adopted"
  disk=$(ckpt disk create db xvda --size 64M | tail -n 1)
  check "a PV guest on a disk of the pool starts" make_guest pv db uuid=1ab0ad09-0000-4000-8000-000000000002 memory=128 area=32 rate=2 disks="phy:$disk,xvda,w"
  remember nonce-db "$(guest_nonce db)"
  check "the doctor has nothing to mend" doctor_is_content
}

taking() {
  check "web is taken" ckpt take web
  check "by ckptd" eval 'journalctl -u ckptd --no-pager | grep "take of web (uid 0): epoch 1"'
  check "db is taken by a unit" systemctl start ckpt-take@db
  check "it has its epoch" has_more_than db 0
  check "db has a schedule" ckpt schedule set db --every 1m
  check "it is followed" until_true 150 has_more_than db 1
  check "and goes" ckpt schedule remove db
  systemctl start ckpt-take@db.timer
  check "the timer's take comes, too" until_true 150 eval '(($(journalctl -u ckpt-take@db --no-pager | grep -c "Finished") >= 2))'
  systemctl stop ckpt-take@db.timer
  is_right db "taken in three ways"
}

restoring() {
  check "a clone, made by hand while ckptd is there" ckpt restore web latest --as copy
  check "the clone is right" guest_is_right copy "$(remembered nonce-web)"
  check "it is on the bridge" until_true 10 is_on_the_bridge copy
  check "it is taken" ckpt take copy
  check "web goes back" ckpt restore web 1 --yes
  is_right web "restored"
  check "which is undone" ckpt undo web --yes
  is_right web "undone"
  check "ckptd is restarted" systemctl restart ckptd
  is_right web "after that"
  check "the clone is shut down as any guest" xl shutdown copy
  check "and ends" until_true 60 eval '! guest_domid copy'
  check "its epochs go, and its disks" eval 'ckpt remove copy -1 --yes && ckpt disk remove copy --yes'
}

breaking() {
  local before package
  take_in copy
  before=$(main_pid)
  systemctl kill --kill-whom=main --signal=KILL ckptd
  check "ckptd is killed in the pause: web runs" until_true 5 runs web
  take_ends 1 "the take tells"
  check "systemd starts it anew" until_true 60 runs_anew "$before"
  is_well_after "killed in the pause"

  take_in copy
  before=$(main_pid)
  kill -STOP "$before"
  check "ckptd stands still in the pause: web runs" until_true 10 runs web
  check "systemd's watchdog starts it anew" until_true 120 runs_anew "$before"
  take_ends 1 "the take tells"
  is_well_after "stopped in the pause"

  take_in write
  systemctl stop ckptd &
  until_true 20 eval '[[ $(systemctl show -P SubState ckptd) == stop-sigterm ]]'
  let_go
  take_ends 0 "ckptd is stopped while a take writes, which ends well"
  check "ckptd ends" until_true 60 are inactive ckptd.service
  check "the socket wakes it" eval 'ckpt status && are active ckptd.service'
  is_well_after "stopped while it wrote"

  package=$(next_version 900)
  take_in write
  before=$(main_pid)
  dpkg -i "$package" </dev/null >/run/lab/dpkg.log 2>&1 &
  upgrade=$!
  check "an upgrade asks for a restart" until_true 300 eval '[[ $(systemctl show -P SubState ckptd) == stop-sigterm ]]'
  check "which waits for the take" eval "sleep 2; kill -0 $upgrade && test -d /proc/$before"
  let_go
  take_ends 0 "the take ends well"
  check "so does the upgrade" until_true 60 eval '[[ $(dpkg-query -W -f "\${Version} \${db:Status-Status}" ckpt) == "900 installed" ]]'
  wait $upgrade
  check "the service that runs is the new one" runs_anew "$before"
  is_well_after "upgraded"
  check "nothing failed" nothing_failed
}

# web and db have been through a restart of the host without having noticed.
came_back() { # WHEN
  host_is_up "$1"
  check "$1: ckptd and its socket are at work" are "active active" ckptd.service ckptd.socket
  check "$1: nothing was saved and left there" eval '! ls /var/lib/xen/save/* 2>/dev/null'
  is_right web "$1"
  is_right db "$1"
  check "$1: ckptd had ended before guests were saved" said_in_the_last_boot 'Stopped ckptd|Deactivated.*ckptd|ckptd.service: Deactivated' 'Stopping xendomains'
  check "$1: the pool's devices were taken down before LVM's" \
    said_in_the_last_boot 'Stopped ckpt-pools' 'Stopping blk-availability'
  check "$1: which had no trouble" eval '! journalctl -b -1 --no-pager -u blk-availability -u ckpt-pools | grep -iE "timed out|failed|kill"'
  check "$1: the doctor has nothing to mend" doctor_is_content
}

restarted() {
  local newest
  came_back "restarted"
  for name in web db; do
    newest=$(newest_of $name)
    check "$name is taken" ckpt take $name
    check "$name goes back to before the restart" ckpt restore $name "$newest" --yes
    is_right $name "back"
  done
  check "all is whole" eval 'ckpt verify web && ckpt verify db'
  remember newest-web "$(newest_of web)"
  ckpt take web --limit-rate 1M >/run/lab/take.out 2>&1 &
  until_true 60 eval 'ckpt status --json 2>/dev/null | grep "\"kind\" : \"take\"" >/dev/null'
  leave "restarted in a take" 224
}

restarted_in_a_take() {
  came_back "restarted in a take"
  check "nothing is left" until_true 5 nothing_is_left
  check "epochs are whole" ckpt verify web
  check "the next take" ckpt take web
  check "is newer than what was there" has_more_than web "$(remembered newest-web)"
  check "db is taken" ckpt take db
  take_in disks
  leave "power" 222
}

power_came_back() {
  local name newest
  host_is_up "power"
  check "ckptd is at work" are "active active" ckptd.service ckptd.socket
  check "the epochs are whole" eval 'ckpt verify web && ckpt verify db'
  for name in web db; do
    check "$name was started with the host" guest_ask $name 300 quick
    check "$name is another boot" eval '[[ $(guest_nonce $name) != "$(remembered nonce-$name)" ]]'
    check "$name goes back to the newest epoch" ckpt restore $name latest --yes
    is_right $name "back from before the power went"
  done
  check "nothing is left" until_true 5 nothing_is_left
  check "web is taken" ckpt take web
  guest_stop web
  check "web is released" ckpt release web --yes
}

going() {
  local domid
  domid=$(guest_domid db)
  check "the package is removed" eval 'dpkg -r ckpt </dev/null'
  check "and what ran of it" are "inactive inactive" ckptd.service ckptd.socket
  check "db is the guest that it was" test "$(guest_domid db)" = "$domid"
  is_right db "removed"
  check "purged, it says what it leaves" eval '[[ $(dpkg -P ckpt 2>&1 </dev/null | grep -c "^ckpt: /var/lib/ckpt") == 1 ]]'
  is_right db "purged"
  check "nothing failed" nothing_failed
}

case $(remembered phase 2>/dev/null) in
  "")
    host_is_up "booted"
    install
    taking
    restoring
    breaking
    leave "restarted" 224
    ;;
  restarted) restarted ;;
  "restarted in a take") restarted_in_a_take ;;
  power)
    power_came_back
    going
    ;;
esac
lab_finish
