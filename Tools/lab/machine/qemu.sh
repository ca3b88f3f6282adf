# The emulated machine: QEMU's command line, and how it is started, spoken to and ended.
# One machine per process. Everything it writes lies in $machine_dir, which goes away with it.

machine_flags=(
  -machine q35 -accel tcg,thread=multi -smp 2 -m 4G
  # smap: dom0 dies at its first iret (QEMU before 9.1 checks SMAP wrongly for a user-mode iret).
  # rdtscp: a PVH guest dies, because Xen intercepts RDTSCP and QEMU's SVM gives no next-rip.
  # avx … xsave: once a random heap corruption in dom0's user space; AVX state is new in QEMU 7.2.
  # erms, fsrm: with them kernels copy and clear memory by single bytes (rep movsb, rep stosb), and so does the emulator.
  # pku, la57: nothing here needs them.
  -cpu max,-smap,-pku,-la57,-rdtscp,-avx,-avx2,-fma,-f16c,-xsave,-erms,-fsrm
  # A reset would start Xen again behind a test's back: let the machine end instead.
  -no-reboot
  -display none -vga none -nic none
)
# 1536M for dom0 leaves some 2.3 GiB to guests; noreboot keeps a panic's text at the end of the serial log.
machine_xen_line="console=com1 com1=115200,8n1 dom0_mem=1536M noreboot"
# mitigations=off: emulated they cost much and protect nobody.
machine_dom0_line="console=hvc0 root=/dev/vda rw init=/lab-first-init net.ifnames=0 mitigations=off"

# What the kernel's command line says to dom0's init beyond that: the init that takes over (dom0/init).
machine_init=

machine_pid= machine_dir= machine_says= machine_tells= monitor_says= monitor_tells=

machine_key() { key_of "$lab_dir"/machine/qemu.sh <(qemu-system-x86_64 --version); }

# machine_prepare: the folder, the pipes and the disks of a run. Nothing here changes the cache.
#   vda  dom0's root: an overlay on the cached image, or on the cached overlay that the booted snapshot belongs to
#   vdb  the delivery drive, raw; its size is remembered in the snapshot, so it is fixed
#   vdc  4 GiB blank, for a pool's data;  vdd 128 MiB blank, for its metadata;  vde 2 GiB blank, for a store of its own
machine_prepare() {
  local root=$1 format=$2
  machine_dir=$(mktemp -d "${TMPDIR:-/tmp}/ckpt-lab.XXXXXX")
  trap machine_clean EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  mkfifo "$machine_dir"/{control,monitor}.{in,out}
  qemu-img create -q -f qcow2 -F "$format" -b "$root" "$machine_dir/vda"
  truncate -s "$delivery_bytes" "$machine_dir/vdb"
  truncate -s 4G "$machine_dir/vdc"
  truncate -s 128M "$machine_dir/vdd"
  truncate -s 2G "$machine_dir/vde"
}

# machine_start BASE [FLAG…]: starts QEMU on the disks of machine_prepare. $machine_xen is the hypervisor to boot,
# $machine_xenstored the store's daemon in dom0.
machine_start() {
  local base=$1 disk format disks=() shell=(-chardev null,id=shell)
  shift
  for disk in vda vdb vdc vdd vde; do
    format=raw
    [[ $disk != vda ]] || format=qcow2
    # unsafe: a run's disks live as long as the run.
    disks+=(-drive "file=$machine_dir/$disk,format=$format,if=virtio,cache=unsafe,discard=unmap")
  done
  [[ -z ${machine_on_terminal:-} ]] || shell=(-chardev "stdio,id=shell,signal=off")

  # Both ends of each pipe are held open here while QEMU starts, so that no open() can wait for the other side.
  exec {machine_tells}<>"$machine_dir/control.in" {machine_says}<>"$machine_dir/control.out"
  exec {monitor_tells}<>"$machine_dir/monitor.in" {monitor_says}<>"$machine_dir/monitor.out"
  # pdeathsig: a lab that is killed outright takes its emulator along.
  # nice: beside a busy compiler dom0's hotplug scripts (dozens of forks each) would pass libxl's limit of 40 s. It needs root.
  nice -n -10 setpriv --pdeathsig KILL qemu-system-x86_64 "${machine_flags[@]}" \
    -kernel "$machine_xen" -append "$machine_xen_line" \
    -initrd "$base/vmlinuz $machine_dom0_line lab.xenstored=$machine_xenstored${machine_init:+ lab.init=$machine_init},$base/initrd" \
    "${disks[@]}" \
    -serial "file:$machine_dir/serial" \
    -chardev "pipe,id=monitor,path=$machine_dir/monitor" -mon chardev=monitor,mode=readline \
    -device virtio-serial-pci \
    -chardev "pipe,id=control,path=$machine_dir/control" -device virtserialport,chardev=control,name=lab.control \
    -chardev "file,id=output,path=$machine_dir/output" -device virtserialport,chardev=output,name=lab.output \
    "${shell[@]}" -device virtconsole,chardev=shell,name=lab.shell \
    "$@" 2> >(grep -v 'cannot set niceness' >"$machine_dir/qemu.err") <&0 &
  machine_pid=$!
}

# machine_hear WORD SECONDS: waits for a line from dom0 that starts with WORD and leaves the rest of it in $heard.
# Fails when the emulator ends or the time is over.
machine_hear() {
  local word=$1 deadline=$((SECONDS + $2)) line= part
  while ((SECONDS < deadline)); do
    # When its second ends in the middle of a line, read has taken the beginning.
    if IFS= read -r -t 1 -u "$machine_says" part; then
      line+=$part
      [[ $line == "$word"* ]] || { line=; continue; }
      heard=${line#"$word"}
      heard=${heard# }
      return 0
    fi
    line+=$part
    kill -0 "$machine_pid" 2>/dev/null || { machine_report "the emulator ended by itself"; return 1; }
  done
  machine_report "no '$word' from dom0 within $2 s"
  return 1
}

machine_tell() { printf '%s\n' "$*" >&"$machine_tells"; }

# machine_report WHAT: what a person needs to see when a run was lost.
machine_report() {
  {
    echo "lab: $1; the last lines of the serial log:"
    tail -n 40 "$machine_dir/serial" 2>/dev/null | tr -d '\r' | sed 's/^/  | /'
    [[ ! -s $machine_dir/qemu.err ]] || sed 's/^/  qemu: /' "$machine_dir/qemu.err"
  } >&2
}

# machine_ends SECONDS: waits until the machine has ended by itself, as it does instead of a restart.
machine_ends() {
  local deadline=$((SECONDS + $1))
  while kill -0 "$machine_pid" 2>/dev/null; do
    ((SECONDS < deadline)) || { machine_report "dom0 did not restart within $1 s"; return 1; }
    sleep 0.5
  done
}

machine_end() {
  [[ -n $machine_pid ]] || return 0
  kill -KILL "$machine_pid" 2>/dev/null || true
  wait "$machine_pid" 2>/dev/null || true
  machine_pid=
}

machine_clean() {
  machine_end
  [[ -z $machine_dir ]] || rm -rf "$machine_dir"
  machine_dir=
}
