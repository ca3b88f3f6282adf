# Sourced by soak-crash-*.sh with the kind of guest, and "at-random"; each has a machine of its own.
#
# Debian's crash opens the core of an epoch with the kernel's symbols, and answers: that of Debian 12, and that of Debian 13, for the former
# cannot read the tasks of Debian 12's kernel (Tools/lab/image/symbols.sh).

. /lab/gdb.bash

crash_says() { # DEBIAN COMMAND…: what its crash prints, one command after the other
  local crash=(crash)
  [[ $1 == 12 ]] || crash=(/root/crash/ld-linux-x86-64.so.2 --library-path /root/crash /root/crash/crash)
  shift
  printf '%s\n' "$@" quit >/run/lab/crash-commands
  timeout 900 "${crash[@]}" -s -i /run/lab/crash-commands /root/vmlinux /run/lab/store/core 2>&1 </dev/null
}

opens() { # KIND [at-random]
  local kind=$1 epoch text
  for epoch in 1 2; do
    ckpt export "$kind" "$epoch" /run/lab/store/core --format core
    [[ ${2:-} != at-random ]] || check "$kind kernel lies at random" lies_at_random /run/lab/store/core
    if ((epoch == 1)); then
      text=$(crash_says 13 'sys' 'ps' 'bt 1' 'bt -a' 'log' 'mod' "rd -s jiffies_64")
      check "$kind crash lists the probe" grep -qE '^>? +1 +0 +[0-9]+ .* probe$' <<<"$text"
      check "$kind crash found nothing wrong" eval '! grep -qiE "^crash: |cannot|invalid|WARNING" <<<"$text"'
    else
      text=$(crash_says 12 'sys' 'bt -a' 'log' "list task_struct.tasks -s task_struct.pid,comm -h init_task")
      check "$kind an older crash finds the probe in the list of tasks" grep -q 'comm = "probe' <<<"$text"
    fi
    sed 's/^/      | /' <<<"$text" | head -n 150
    check "$kind the same core shows its registers to gdb" gdb_shows /run/lab/store/core
    check "$kind crash tells of the system in epoch $epoch" grep -q 'RELEASE: 6\.1\.' <<<"$text"
    check "$kind crash shows stacks" grep -qE '#[0-9]+ \[[0-9a-f]+\] (__schedule|do_suspend|xen_suspend|multi_cpu_stop|cpu_stopper_thread)' <<<"$text"
    check "$kind crash shows the kernel's log" grep -q 'Linux version 6\.1\.' <<<"$text"
    rm -f /run/lab/store/core
  done
}

# Xen loads a PVH guest's kernel where its ELF says. GRUB runs the kernel's own loader, which moves it at random.
start_at_random() { # NAME [KEY=VALUE…]
  local name=$1 config line
  config=$(guest_config pvh "$@") || return
  line=$(sed -n 's/^cmdline = "\(.*\)"$/\1/p' "$config")
  printf '%s\n' "linux (memdisk)/vmlinuz $line" 'initrd (memdisk)/probe.img' boot >/run/lab/grub.cfg
  grub-mkstandalone -O i386-xen_pvh -o /run/lab/grub --locales= --fonts= --themes= --install-modules='linux normal memdisk tar' \
    --modules='linux normal memdisk tar' boot/grub/grub.cfg=/run/lab/grub.cfg vmlinuz=/boot/vmlinuz \
    probe.img=/lab/guests/probe.img || return
  sed -i -e 's|^kernel = .*|kernel = "/run/lab/grub"|' -e '/^ramdisk = /d' -e '/^cmdline = /d' "$config"
  guest_boot "$name"
}

lies_at_random() { # CORE
  grep -a -m 1 -o 'KERNELOFFSET=[0-9a-f]*' "$1" | tee /dev/stderr | grep -qv '=0*$'
}

mkdir -p /run/lab/store
mkfs.ext4 -q -F /dev/vde
mount /dev/vde /run/lab/store
zstd -dq /lab/vmlinux.zst -o /root/vmlinux
zstd -dqc /lab/crash.tar.zst | tar -x -C /root
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
kind=$1
disk=$(ckpt disk create "$kind" xvda --size 64M)
words=(memory=256 vcpus=2 area=16 rate=2 stamps=5 disks="phy:$disk,xvda,w")
if [[ ${2:-} == at-random ]]; then
  check "$kind starts with its kernel at random" start_at_random "$kind" "${words[@]}"
else
  guest_start "$kind" "$kind" "${words[@]}"
fi
for epoch in 1 2; do
  check "$kind epoch $epoch" ckpt take "$kind"
  sleep 2
done
opens "$@"
guest_stop "$kind"
lab_finish
