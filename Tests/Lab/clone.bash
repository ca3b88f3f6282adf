# Sourced by soak-clone-pv.sh and soak-clone-pvh.sh with the kind of guest; each has a machine of its own.
#
# Clones beside the running original: one, that is taken and brought back itself, a paused one, three at once. Then rollbacks that are
# undone, and undone again.

field() { answer_field "$(guest_ask "$1" 120)" "$2"; } # NAME KEY, all memory and disks checked

uuid_of() { xenstore-read "$(xenstore-read "/local/domain/$(guest_domid "$1")/vm")/uuid"; }
mac_of() { xenstore-read "/local/domain/0/backend/vif/$(guest_domid "$1")/0/mac"; }
differ() { echo "$1 $2"; [[ -n $1 && -n $2 && $1 != "$2" ]]; }
state_of() { xl list "$1" | awk 'NR==2 {print $5}'; }
host_is_as_before() { diff <(echo "$before") <(host_now); }
host_now() { # what a dry run must not change
  xl list | awk '{print $1, $2}'
  dmsetup ls | sort
  ckpt disk list
  ckpt list web
}

# The stamper's sequence and the walker's laps never go back while a guest runs: a guest that has made at least as many as one had is at
# or after that moment.
at_or_after() { # NAME GEN STAMPS
  local answer
  answer=$(guest_ask "$1" 120) || return
  echo "$answer; at least gen=$2 stamps=$3"
  (($(answer_field "$answer" gen) >= $2 && $(answer_field "$answer" stamps) >= $3))
}
before_lap() { # NAME GEN
  local gen
  gen=$(field "$1" gen)
  echo "gen=$gen, less than $2"
  ((gen < $2))
}

# A rollback that ends while its safety epoch is written: the guest stands still then, and runs on.
breaks_off() { # SIGNAL PHASE
  local engine fault=/run/lab/fault
  rm -rf $fault && mkdir -p $fault
  CKPT_FAULT=$2=$fault ckpt restore web first --yes >/run/lab/broken 2>&1 &
  engine=$!
  until_true 60 test -e $fault/reached
  check "$kind: a rollback in its phase $2: the guest stands still" eval 'state_of web; [[ $(state_of web) == *s* ]]'
  kill "-$1" $engine
  : >$fault/go
  wait $engine
  cat /run/lab/broken
  check "$kind: after SIG$1 it is the same domain" test "$(guest_domid web)" = "$domid"
  check "$kind: it works on" guest_goes_on web
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: nothing of it is suspended" eval '! dmsetup info -c --noheadings -o name,suspended | grep -i ":suspended"'
}

one_clone() { # KIND
  local kind=$1 time
  before=$(host_now)
  check "$kind: a clone is planned" eval 'ckpt restore web 1 --as copy --dry-run | tee /run/lab/plan | grep "ckpt-copy-xvda.* is made"'
  check "$kind: which says what stays the original's inside" grep -q machine-id /run/lab/plan
  check "$kind: and nothing was changed" host_is_as_before
  time=$(ckpt show web first --json | sed -n 's/^  "time" : "\(.*\)".*/\1/p')
  time=@$(date -u -d "$time + 1 second" +%FT%TZ)
  check "$kind: epoch 1, by a time ($time), becomes a clone" ckpt restore web "$time" --as copy
  check "$kind: it has a uuid of its own" differ "$(uuid_of web)" "$(uuid_of copy)"
  check "$kind: and a MAC address of Xen's range" eval 'differ "$(mac_of web)" "$(mac_of copy)" && [[ $(mac_of copy) == 00:16:3e:* ]]'
  check "$kind: the original is the same domain" test "$(guest_domid web)" = "$domid"
  check "$kind: the clone is right, and is the guest of epoch 1" guest_is_right copy "$nonce"
  check "$kind: it is at its epoch" before_lap copy "$second"
  check "$kind: the original is right" guest_is_right web "$nonce"
  check "$kind: the clone works on" guest_goes_on copy
  check "$kind: the original works on" guest_goes_on web

  check "$kind: the clone is taken" ckpt take copy
  check "$kind: the original is taken" ckpt take web
  check "$kind: the clone is right after that" guest_is_right copy "$nonce"
  check "$kind: the original is right after that" guest_is_right web "$nonce"
  check "$kind: the clone goes back to its own epoch" ckpt restore copy latest --yes --no-safety
  check "$kind: and is right" guest_is_right copy "$nonce"
  check "$kind: what was brought back without a safety epoch is not undone" refuses 10 "(--no-safety)" ckpt undo copy --yes

  xls=$(pgrep -x xl)
  check "$kind: a name in use is refused" refuses 1 "domain $domid" ckpt restore web 1 --as web --yes
  check "$kind: and no xl is left that waits for it, but the guests' own ($(wc -w <<<"$xls"))" \
    eval '[[ -n $xls && $(pgrep -x xl) == "$xls" ]]'
  check "$kind: disks in use are not removed" refuses 1 "ckpt remove copy 1" ckpt disk remove copy --yes
  guest_stop copy
  check "$kind: disks of a clone that is gone hold its name" refuses 1 "ckpt-copy-xvda: exists" ckpt restore web 1 --as copy
  check "$kind: the clone's epochs go" ckpt remove copy -1 --yes
  check "$kind: and its disks" ckpt disk remove copy --yes
  check "$kind: nothing is left of them" eval '! dmsetup ls | grep copy && ! ckpt disk list | grep copy'
}

three_clones() { # KIND
  local kind=$1 name
  # One after the other: three of Xen's block scripts side by side pass libxl's 40 s in an emulated dom0 that has anything else to do.
  for name in c1 c2 c3; do
    check "$kind: three at once: $name starts" ckpt restore web latest --as "$name"
  done
  for name in c1 c2 c3 web; do check "$kind: $name is right" guest_is_right "$name" "$nonce"; done
  for name in c1 c2 c3 web; do check "$kind: $name works on" guest_goes_on "$name"; done
  for name in c1 c2 c3; do
    guest_stop "$name"
    check "$kind: the disks of $name go" ckpt disk remove "$name" --yes
  done

  check "$kind: a clone is left paused" ckpt restore web first --as held --paused
  check "$kind: it has not run" eval '[[ $(state_of held) == --p--- ]]'
  xl unpause held
  check "$kind: it is right when it runs" guest_is_right held "$nonce"
  check "$kind: a disk in use is not removed" refuses 1 "is in use" ckpt disk remove held --yes
  guest_stop held
  check "$kind: the original was not touched by any" test "$(guest_domid web)" = "$domid"
}

undoing() { # KIND
  local kind=$1 answer gen stamps restored
  before=$(host_now)
  check "$kind: a restore is planned" eval 'ckpt restore web first --dry-run | tee /run/lab/plan | grep "destroy *domain $domid"'
  check "$kind: and nothing was changed" host_is_as_before
  breaks_off TERM write
  breaks_off KILL publish
  answer=$(guest_ask web 60)
  gen=$(answer_field "$answer" gen) stamps=$(answer_field "$answer" stamps)
  check "$kind: back to epoch 1" rolled_back web first /run/lab/answers
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: it is at its epoch" before_lap web "$second"
  restored=$(guest_ask web 60)
  check "$kind: what it was before has its tag" eval 'ckpt list web --json | grep "before-restore"'

  check "$kind: undone" ckpt undo web --yes
  check "$kind: all that it did before its end is there" knows_its_last_words web /run/lab/answers
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: it is where it was before the rollback" at_or_after web "$gen" "$stamps"
  check "$kind: it works on" guest_goes_on web

  check "$kind: the undo is undone" ckpt undo web --yes
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: it is where it was before the undo" \
    at_or_after web "$(answer_field "$restored" gen)" "$(answer_field "$restored" stamps)"
  check "$kind: which is before the first rollback" before_lap web "$gen"
  check "$kind: it works on" guest_goes_on web
  check "$kind: it can be taken" ckpt take web
  check "$kind: all epochs are whole" ckpt verify web --full
}

# The service keeps guests' memory mapped from take to take; a guest that is destroyed must be gone all the same.
through_the_service() { # KIND
  local kind=$1 answer service
  export CKPT_SOCKET=/run/ckpt/ckptd.sock
  ckptd 2>/run/lab/ckptd.log &
  service=$!
  check "$kind: the service starts" until_true 60 grep -q 'ready on' /run/lab/ckptd.log
  check "$kind: it takes" ckpt take web
  check "$kind: it makes a clone" ckpt restore web latest --as served
  check "$kind: the clone is right" guest_is_right served "$nonce"
  guest_stop served
  answer=$(guest_ask web 60)
  domid=$(guest_domid web)
  rm /run/lab/answers
  check "$kind: it goes back" rolled_back web first /run/lab/answers
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: it is at its epoch" before_lap web "$second"
  check "$kind: nothing is left of the old domain" guest_is_gone "$domid"
  check "$kind: it undoes" ckpt undo web --yes
  check "$kind: all that it did before its end is there" knows_its_last_words web /run/lab/answers
  check "$kind: it is right" guest_is_right web "$nonce"
  check "$kind: it is where it was before" at_or_after web "$(answer_field "$answer" gen)" "$(answer_field "$answer" stamps)"
  kill "$service"
  wait "$service"
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes >/dev/null
kind=$1
root=$(ckpt disk create web xvda --size 64M)
data=$(ckpt disk create web xvdb --size 64M)
mkfs.ext4 -q -F "$root"
raw_disk /run/lab/readonly 16
losetup /dev/loop6 /run/lab/readonly
guest_config "$kind" web memory=128 area=16 rate=8 stamps=10 \
  disks="phy:$root,xvda,w;phy:$data,xvdb,w;phy:/dev/loop6,xvdc,r" >/dev/null
# An interface that leads nowhere; the clones' get addresses of their own all the same.
modprobe xen-netback
cat >/run/lab/vif-nowhere <<'SCRIPT'
#!/bin/sh
[ "$1" != online ] || xenstore-write "$XENBUS_PATH/hotplug-status" connected
SCRIPT
chmod +x /run/lab/vif-nowhere
echo 'vif = [ "script=/run/lab/vif-nowhere" ]' >>/run/lab/web.cfg
xl create -q /run/lab/web.cfg
check "$kind starts" guest_ask web 300 quick
nonce=$(guest_nonce web) domid=$(guest_domid web)
check "$kind epoch 1" ckpt take web
ckpt tag web -1 first >/dev/null
sleep 15
check "$kind epoch 2" ckpt take web
# Laps that are well past epoch 1 and what a guest restored from it makes until it is asked.
sleep 60
second=$(field web gen)
one_clone "$kind"
three_clones "$kind"
undoing "$kind"
through_the_service "$kind"
guest_stop web
lab_finish
