# Sourced by soak-crash-*.sh with the kind of guest, and more words for its configuration; each has a machine of its own.
#
# Debian's crash opens the core of an epoch with the kernel's symbols, and answers.

crash_says() { # COMMAND…: what crash prints, one command after the other
  printf '%s\n' "$@" quit >/run/lab/crash-commands
  timeout 900 crash -s -i /run/lab/crash-commands /root/vmlinux /run/lab/store/core 2>&1 </dev/null
}

opens() { # KIND
  local kind=$1 epoch text
  for epoch in 1 2; do
    ckpt export "$kind" "$epoch" /run/lab/store/core --format core
    text=$(crash_says 'sys' 'ps' 'bt 1' 'bt -a' 'log -d' 'mod' "rd -s jiffies_64")
    sed 's/^/      | /' <<<"$text" | head -n 150
    check "$kind crash tells of the system in epoch $epoch" grep -q 'RELEASE: 6\.1\.' <<<"$text"
    check "$kind crash lists the probe" grep -qE '^>? +1 +0 +[0-9]+ .* probe$' <<<"$text"
    check "$kind crash shows stacks" grep -qE '#[0-9]+ \[[0-9a-f]+\] (__schedule|do_suspend|xen_suspend|multi_cpu_stop|cpu_stopper_thread)' <<<"$text"
    check "$kind crash shows the kernel's log" grep -q 'Linux version 6\.1\.' <<<"$text"
    check "$kind crash found nothing wrong" eval '! grep -qiE "^crash: |cannot|invalid|WARNING" <<<"$text"'
    rm -f /run/lab/store/core
  done
}

mkdir -p /run/lab/store
mkfs.ext4 -q -F /dev/vde
mount /dev/vde /run/lab/store
zstd -dq /lab/vmlinux.zst -o /root/vmlinux
ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
kind=$1
shift
disk=$(ckpt disk create "$kind" xvda --size 64M)
guest_start "$kind" "$kind" memory=256 area=16 rate=2 stamps=5 disks="phy:$disk,xvda,w" "$@"
for epoch in 1 2; do
  check "$kind epoch $epoch" ckpt take "$kind"
  sleep 2
done
opens "$kind"
guest_stop "$kind"
lab_finish
