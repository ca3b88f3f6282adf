#!/bin/bash
# Every example of the README and of the manual pages, in their order, on a terminal as a reader types them, who says yes when he is
# asked: each ends with status 0. One that cannot run here is listed below with the reason; one that is neither fails.
# needs: examples
# time limit: 1800
set -uo pipefail
. /lab/lib.sh

check "udevd starts" start_udevd
export SHELL=/bin/bash
work=/var/tmp/reader # the folder that the reader stands in

# COMMAND REASON: not run here, by the command's first words.
not_here=(
  "./Tools/test" "it runs all tests, this one too"
  "Tools/package" "soak-package.sh needs what it makes"
  "apt install ./packages/" "soak-package.sh installs it"
  "apt install libxen-dev" "Tools/lab/install-needs does it where the lab is built"
  "apt install xen-utils-" "the lab's image has them"
  "for product in " "Tools/lab/machine/binaries.sh builds them where the lab is built"
  "install " "the programs are in this dom0 already; soak-package.sh looks at the places"
  "groupadd --system ckpt" "the package does it: soak-package.sh"
  "systemctl " "no systemd in this dom0; soak-systemd.sh does it where there is, and Tools/test package"
  "ssh there " "a guest's devices have one name on all hosts, so that one cannot be two; soak-carry-pv.sh and soak-carry-pvh.sh have two"
  "ckpt export web 3 - --bundle --since 2 | ssh there " "the same"
)

# What the image lacks of curl, as far as the README uses it.
curl() { # --unix-socket PATH URL [-d BODY]
  python3 - "$2" "${3#http://ckptd}" "${5:-}" <<'PYTHON'
import socket, sys
path, url, body = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.connect(path)
method = "POST" if body else "GET"
s.sendall(f"{method} {url} HTTP/1.1\r\nHost: ckptd\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
answer = b""
while data := s.recv(65536): answer += data
print(answer.decode())
sys.exit(0 if answer.startswith(b"HTTP/1.1 200") and b'"event":"error"' not in answer else 22)
PYTHON
}
export -f curl

# block KIND FILE [NUMBER]: what stands between ```KIND and ```, in all of them or in one; a manual page's examples have no such marks.
block() {
  if [[ $2 != *.md ]]; then cat "$2"; return; fi
  awk -v kind="$1" -v number="${3:-0}" '
    /^```/ { inside = !inside && $0 == "```" kind; if (inside) count++; else if ($0 != "```") other++; next }
    inside && (number == 0 || number == count)' "$2"
}

# read_commands FILE: sets commands, to whole ones, without the comments behind them.
read_commands() {
  local line text=
  commands=()
  while IFS= read -r line; do
    text+=$line
    # A command goes on as long as the shell wants more.
    if [[ $line == *\\ ]] || ! bash -n <<<"$text" 2>/dev/null; then
      text+=$'\n'
      continue
    fi
    text=$(sed -E 's/(^| +)#.*//' <<<"$text")
    [[ -z $text ]] || commands+=("$text")
    text=
  done < <(block sh "$1")
  check "${1##*/}: ${#commands[@]} examples, each of them whole" test -z "$text" -a ${#commands[@]} -gt 0
}

# Nothing that looks like an example stands where it would be passed over.
has_only_known_blocks() { # FILE
  awk '/^```/ { inside = !inside; if (inside && $0 != "```sh" && $0 != "```ini") { bad = 1; print } next }
    !inside && /^    / { bad = 1; print } END { exit bad || inside }' "$1"
}

# is_listed COMMAND: sets reason.
passed_over=()
is_listed() {
  local index
  for ((index = 0; index < ${#not_here[@]}; index += 2)); do
    [[ $1 == "${not_here[index]}"* ]] || continue
    passed_over[index]=yes reason=${not_here[index + 1]}
    return 0
  done
  return 1
}

# A host on which nothing was done.
start_anew() {
  local guest turn device
  if pkill -x ckptd; then until_true 60 eval '! pgrep -x ckptd'; fi
  for guest in $(xl list | awk 'NR > 1 && $1 != "Domain-0" {print $1}'); do guest_stop "$guest"; done
  # Adopted volumes lie on pools, and those on volumes: each turn takes away what nothing lies on.
  for turn in {1..6}; do
    for device in $(dmsetup ls | awk '!/^No devices/ {print $1}'); do dmsetup remove "$device" 2>/dev/null; done
    [[ -n $(dmsetup ls | grep -v '^No devices') ]] || break
    sleep 0.5
  done
  losetup -D
  if vgs vg0 >/dev/null 2>&1; then vgremove -qfy vg0; fi
  rm -rf /dev/vg0 /dev/sd[bc] /var/tmp/sd[bc] /var/lib/ckpt /var/tmp/pool /run/ckpt $work/*
}

# volume_group [NAME…]: the group vg0, with these volumes.
volume_group() {
  local name
  vgs vg0 >/dev/null 2>&1 || vgcreate -qy vg0 /dev/vdc || return
  for name in "$@"; do lvcreate -qy -L 64M -n "$name" vg0 && mkfs.ext4 -q -F "/dev/vg0/$name" || return; done
}

# runs_on_lvm [POOL]: the guest web, on volumes that are in no pool, beside a pool.
runs_on_lvm() {
  volume_group web web-data && guest_start pvh web memory=128 area=16 rate=2 stamps=5 \
    disks="phy:/dev/vg0/web,xvda,w;phy:/dev/vg0/web-data,xvdb,w" && mkdir -p /etc/xen && cp /run/lab/web.cfg /etc/xen/web.cfg || return
  [[ -d /var/lib/ckpt/pools ]] || ckpt pool create ${1:+"$1"} --vg vg0 --size 40% --yes
}

is_adopted() { runs_on_lvm && ckpt adopt web --write-config && guest_stop web; }

has_disk() {
  [[ ! -e /dev/mapper/ckpt-web-xvda ]] || return 0
  volume_group && ckpt pool create --vg vg0 --size 40% --yes && ckpt disk create web xvda --size 20G
}

# Few inodes, no journal: 20 GB are soon formatted. One that was adopted has a file system.
guest_runs() {
  ! guest_domid web >/dev/null || return 0
  has_disk && mkfs.ext4 -q -F -O ^has_journal -N 2048 /dev/mapper/ckpt-web-xvda &&
    guest_start pvh web memory=128 area=16 rate=2 stamps=5 disks="phy:/dev/mapper/ckpt-web-xvda,xvda,w"
}

has_epochs() { ckpt show web latest >/dev/null 2>&1 || { guest_runs && ckpt take web; }; }

two_devices() {
  raw_disk /var/tmp/sdb 256 && raw_disk /var/tmp/sdc 16 && ln -s "$(losetup -f --show /var/tmp/sdb)" /dev/sdb &&
    ln -s "$(losetup -f --show /var/tmp/sdc)" /dev/sdc
}

# prepare COMMAND: what the reader has, or has done, before it; the text around the example says so.
prepare() {
  case $1 in
    # A checkout: the lab that it boots is this one.
    "./Tools/demo") mkdir -p $work/Tools && printf '#!/bin/bash\nexec bash /lab/demo-in-dom0 pv\n' >$work/Tools/demo && chmod +x $work/Tools/demo ;;
    "ckpt pool create --vg "*) volume_group ;;
    "ckpt pool create fast "*) two_devices ;;
    "ckpt adopt web") runs_on_lvm ;;
    "ckpt adopt web xvdb --pool data "*) start_anew && runs_on_lvm data ;;
    "ckpt release web") is_adopted ;;
    # Another guest than the one that was adopted, whose disk has this name.
    "ckpt disk create web xvda "*) start_anew && volume_group && ckpt pool create --vg vg0 --size 40% --yes ;;
    "ckpt take web"*) guest_runs ;;
    "ckpt show web 2") ckpt take web ;;
    "ckpt export web "*) has_epochs && until_true 60 eval 'ckpt show web 4 || ! ckpt take web' ;;
    "ckpt import web-3.bundle") has_epochs && ckpt export web 1 $work/web-3.bundle --bundle ;;
    "ckpt import old.xlsave "*) guest_runs && xl save web $work/old.xlsave ;;
    "ckpt prune web "* | "ckpt remove web "*) has_epochs ;;
    "curl "*) daemon_runs ;;
  esac
}

type_in() { (cd $work && printf 'y\ny\n' | script -qec "$1" /dev/null); }

daemon_runs() {
  [[ ! -e /run/ckpt/ckptd.sock ]] || return 0
  setsid ckptd </dev/null >>/run/lab/ckptd.log 2>&1 &
  until_true 60 test -S /run/ckpt/ckptd.sock
}

run_examples() { # FILE
  local command reason words
  read_commands "$1"
  for command in "${commands[@]}"; do
    words=$(xargs <<<"${command//\\$'\n'/ }" 2>/dev/null || head -n 1 <<<"$command")
    if is_listed "$command"; then
      echo "      not here: $words: $reason"
      continue
    fi
    prepare "$words" >/run/lab/prepare.out 2>&1 || check "before: $words" eval 'cat /run/lab/prepare.out; false'
    check "$words" type_in "$command"
    [[ $words != ./Tools/demo ]] || start_anew
  done
}

mkdir -p $work
mkfs.ext4 -q -F /dev/vde
mount /dev/vde $work # images of memory are large
check "the README marks every example" has_only_known_blocks /lab/README.md
start_anew
run_examples /lab/README.md

mkdir -p /etc/ckpt
for hook in quiet-db snap-array wake-db tell-me; do install -m 755 /bin/true /etc/ckpt/$hook; done
count=$(grep -c '^```ini$' /lab/README.md)
for ((number = 1; number <= count; number++)); do
  block ini /lab/README.md $number >/run/lab/example.conf
  check "ckpt.conf, example $number" ckpt config check /run/lab/example.conf
done

for page in /lab/man/*.examples; do
  start_anew
  run_examples "$page"
done
for ((index = 0; index < ${#not_here[@]}; index += 2)); do
  check "listed as not run, and an example: ${not_here[index]}" test -n "${passed_over[index]:-}"
done
lab_finish
