# Sourced by soak-sizes-pv.sh and sizes-pvh.sh with the kind of guest; each has a machine of its own.
#
# Two vCPUs and 512 MiB, one vCPU and 128 MiB; and the stop that ckpt tells is the stop that dom0 sees.

# The stop told and the stop seen by a witness that polls the domain's state differ by at most 10 % and 2 ms.
stops_agree() { # TOLD SEEN
  echo "told $1 ms, seen $2 ms"
  awk -v told="$1" -v seen="$2" 'BEGIN { d = told - seen; if (d < 0) d = -d; exit !(told > 0 && d <= seen / 10 + 2) }'
}

# A take and a witness beside it. Under emulation the witness itself is held up now and then: one of three must agree.
witnessed_takes() { # NAME
  local try witness
  for try in 1 2 3; do
    ckpt-bench watch "$1" --seconds 120 >"/run/lab/$1.watch" &
    witness=$!
    until_true 20 test -s "/run/lab/$1.watch"
    ckpt take "$1" && wait "$witness" || return
    stops_agree "$(ckpt show "$1" "$try" --json | json_number stop_ms)" \
      "$(sed -n 's/^stop_ms=//p' "/run/lab/$1.watch")" && return
  done
  return 1
}

size() { # KIND VCPUS MEMORY AREA
  local kind=$1 vcpus=$2 memory=$3 name=$1-$2-$3 disk nonce
  disk=$(ckpt disk create "$name" xvda --size 64M)
  check "$name starts" guest_start "$kind" "$name" vcpus="$vcpus" memory="$memory" area="$4" disks="phy:$disk,xvda,w"
  nonce=$(guest_nonce "$name")
  check "$name is taken, and tells the stop that a witness saw" witnessed_takes "$name"
  check "$name tells its pause and every phase" eval \
    'for key in pause probe reserve arm request freeze copy disks resume write publish; do
       ckpt show '"$name"' 1 | grep -qE "^ *$key +[0-9]+\.[0-9] ms" || { echo "no $key"; exit 1; }; done'
  check "$name is right" guest_is_right "$name" "$nonce"
  check "$name goes back" ckpt restore "$name" 1 --yes --no-safety
  check "$name is right after it" guest_is_right "$name" "$nonce"
  check "$name works on" guest_goes_on "$name"
  check "$name still has its vCPUs" test "$(xl list "$name" | awk 'NR==2 {print $4}')" = "$vcpus"
  guest_stop "$name"
}

ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
size "$1" 1 128 32
size "$1" 2 512 128
lab_finish
