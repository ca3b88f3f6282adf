# Sourced by soak-look-pv.sh and soak-look-pvh.sh with the kind of guest; each has a machine of its own.
#
# Looking inside epochs: a core file is what Xen itself dumps in the take's pause (PV) or after a restore (PVH); disks are shown
# read-only and mounted, and cleaned up; what changed between two epochs is counted as it is.

. /lab/gdb.bash
views() { dmsetup ls | grep -c -- '-epoch[0-9]' || true; }
snapshots() { ckpt pool show main --json | json_number snapshots; }
digest() { dd if="$1" bs=1M iflag=direct status=none | sha256sum; }
sparse() { (($(du -k "$1" | cut -f1) * 1024 < $(stat -c %s "$1"))); }
narrow() { awk 'length > 80 { bad = 1; print } END { exit bad }' <<<"$1"; }

refuses_writes() { # DEVICE
  [[ $(blockdev --getro "$1") == 1 ]] && ! dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct 2>/dev/null
}

changed_blocks() { # DEVICE DEVICE: blocks of 64 KiB with another content
  python3 - "$1" "$2" <<'PYTHON'
import sys
files = [open(path, "rb") for path in sys.argv[1:]]
count = 0
while True:
    blocks = [file.read(65536) for file in files]
    if not blocks[0]:
        break
    count += blocks[0] != blocks[1]
print(count)
PYTHON
}

is_between() { (($1 <= $2 && $2 <= $3)); }

# Xen dumps the guest while it is held: what both saw is of one instant, and of one domain. Only a PV guest: of a PVH one libxc tries
# each frame of 4 GiB by itself.
take_and_dump() { # KIND
  local kind=$1 engine fault=/run/lab/fault
  rm -rf $fault && mkdir -p $fault
  echo 'max-pause = 300' >/run/lab/patient.conf
  CKPT_CONFIG=/run/lab/patient.conf CKPT_FAULT=copy=$fault ckpt take "$kind" >/run/lab/taken 2>&1 &
  engine=$!
  until_true 60 test -e $fault/reached
  check "$kind is dumped by Xen in the pause" xl dump-core "$kind" /run/lab/store/held
  : >$fault/go
  wait $engine
  check "$kind is epoch 1 then" test $? = 0
}

# Xen dumps what was restored and has not run yet. Not a PV guest: libxc finds its memory through a frame that the shared info names,
# and that is the old domain's until the new one has run.
dumped_by_xen() { # KIND
  local kind=$1 ours=/run/lab/store/core-1 xens=/run/lab/store/xen
  check "$kind is dumped by Xen" xl dump-core "$kind" $xens
  check "$kind core 1 is what Xen dumped: $(read_core same $ours $xens)" read_core same $ours $xens
  rm -f $xens
}

cores() { # KIND NONCE
  local kind=$1 nonce=$2 epoch core held=/run/lab/store/held
  for epoch in 1 2; do
    core=/run/lab/store/core-$epoch
    check "$kind epoch $epoch becomes a core" ckpt export "$kind" "$epoch" "$core" --format core
    check "$kind core $epoch is for its owner only" test "$(stat -c %a "$core")" = 600
    check "$kind core $epoch has holes" sparse "$core"
    check "$kind core $epoch through a pipe is the same" \
      eval "ckpt export $kind $epoch - --format core | cat | cmp - $core"
    check "$kind core $epoch shows its registers to gdb" gdb_shows "$core"
  done
  if [[ $kind == pv ]]; then
    check "$kind core 1 is what Xen dumped in the pause: $(read_core instant /run/lab/store/core-1 $held)" \
      read_core instant /run/lab/store/core-1 $held
    rm -f $held
  fi
  check "$kind epoch 1 goes out for xl" ckpt export "$kind" 1 /run/lab/store/xl
  check "$kind goes back to the disks of epoch 1" ckpt restore "$kind" 1 --disks-only --no-safety --yes
  check "$kind epoch 1 stands still" xl restore -p /run/lab/store/xl
  [[ $kind == pv ]] || dumped_by_xen "$kind"
  rm -f /run/lab/store/xl
  xl unpause "$kind"
  check "$kind is right" guest_is_right "$kind" "$nonce"
}

mounts() { # KIND
  local kind=$1 device before=/run/lab/digest held
  held=$(snapshots)
  check "$kind has a disk of epoch 1 to look at" eval "ckpt mount $kind 1 xvdb >/run/lab/device"
  device=$(cat /run/lab/device)
  check "$kind device $device takes no writes" refuses_writes "$device"
  digest "$device" >$before
  mkdir -p /run/lab/mnt
  check "$kind journalled file system of epoch 1 is mounted" ckpt mount "$kind" 1 xvda --at /run/lab/mnt
  check "$kind file system is read-only" eval '! touch /run/lab/mnt/new 2>/dev/null'
  check "$kind files are there" test -s /run/lab/mnt/direct -a -s /run/lab/mnt/cached
  check "$kind works on meanwhile" guest_goes_on "$kind"
  check "$kind device shows what it showed" eval "digest $device | cmp - $before"
  check "both are listed" test "$(ckpt mount --json | grep -c '"device"')" = 2
  check "no disk is mounted twice" refuses 11 'is there already' ckpt mount "$kind" 1 xvda
  check "a mounted epoch is not pruned, and said so" eval "ckpt prune $kind --keep-last 1 --yes 2>&1 | grep 'mounted and stay'"
  check "and is still there" ckpt show "$kind" 1
  check "a file system in use stays" eval "(cd /run/lab/mnt && refuses 11 'in use' ckpt umount $kind 1 xvda)"
  check "one is unmounted" ckpt umount "$kind" 1 xvda
  check "all are" ckpt umount --all
  check "nothing is left of them" test "$(views) $(snapshots)" = "0 $held"
  check "what is not mounted cannot be unmounted" refuses 10 'is not mounted' ckpt umount "$kind" 1 xvda
  # As after a ckpt mount that was killed: a device that nobody mounted.
  ckpt mount "$kind" 1 xvda --at /run/lab/mnt >/dev/null && umount /run/lab/mnt
  check "recover takes away what was left" eval "ckpt recover | grep 'mount that did not come'"
  check "nothing is left of that" test "$(views)" = 0
  check "a disk that does not mount leaves nothing" refuses 1 'cannot be mounted' ckpt mount "$kind" 1 xvdb --at /run/lab/mnt
  check "nothing at all" test "$(views) $(snapshots)" = "0 $held"
}

regions_are_those_of_cores() { # KIND: pages that changed, came or went, of each stretch of memory
  ckpt diff "$1" 1 2 --json | python3 -c '
import json, sys
for region in json.load(sys.stdin)["memory"]["regions"]:
    print(region["start"], region["bytes"], region["changed"] + region["added"] + region["removed"])' >/run/lab/regions
  cat /run/lab/regions
  read_core regions /run/lab/store/core-1 /run/lab/store/core-2 /run/lab/regions
}

differences() { # KIND
  local kind=$1 text pages content counted
  text=$(ckpt diff "$kind" 1 2)
  check "$kind differences fit 80 columns" narrow "$text"
  sed 's/^/      | /' <<<"$text"
  pages=$(ckpt diff "$kind" 1 2 --json | sed -n '/"memory"/,/}/p' | json_number changed)
  check "$kind changed pages are counted as the cores differ ($pages)" \
    test "$pages" = "$(read_core changed /run/lab/store/core-1 /run/lab/store/core-2)"
  check "$kind and so are those of each region" regions_are_those_of_cores "$kind"
  ckpt mount "$kind" 1 xvdb >/run/lab/first
  ckpt mount "$kind" 2 xvdb >/run/lab/second
  content=$(changed_blocks "$(cat /run/lab/first)" "$(cat /run/lab/second)")
  counted=$(awk '$1 == "xvdb" { print $4 + $5 + $6; exit }' <<<"$text")
  check "$kind the regions of its disk have them all" \
    test "$(awk '$1 == "xvdb" { if (isRegion) sum += $4 + $5 + $6; isRegion = 1 } END { print sum + 0 }' <<<"$text")" = "$counted"
  check "$kind changed blocks ($counted) hold those with another content ($content)" is_between "$content" "$counted" 1024
  check "$kind stamps were written in between" is_between 1 "$content" 1024
  check "all are unmounted" ckpt umount --all
  text=$(ckpt diff "$kind" 2 2)
  check "$kind an epoch does not differ from itself" \
    test "$(awk '$1 == "total" { print $4 + $5 + $6 } $1 == "xvda" || $1 == "xvdb" { print $4 + $5 + $6 }' <<<"$text" | xargs)" = "0 0 0"
}

look() { # KIND
  local kind=$1 root data nonce epoch
  root=$(ckpt disk create "$kind" xvda --size 64M)
  data=$(ckpt disk create "$kind" xvdb --size 64M)
  mkfs.ext4 -q -F "$root"
  guest_start "$kind" "$kind" memory=128 vcpus=2 area=16 rate=2 stamps=20 disks="phy:$root,xvda,w;phy:$data,xvdb,w"
  nonce=$(guest_nonce "$kind")
  if [[ $kind == pv ]]; then take_and_dump "$kind"; else check "$kind epoch 1" ckpt take "$kind"; fi
  sleep 3
  check "$kind epoch 2" ckpt take "$kind"
  mounts "$kind"
  cores "$kind" "$nonce"
  differences "$kind"
  guest_stop "$kind"
}

# Cores are large: they go to a disk of their own.
mkdir -p /run/lab/store
mkfs.ext4 -q -F /dev/vde
mount /dev/vde /run/lab/store
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
look "$1"
lab_finish
