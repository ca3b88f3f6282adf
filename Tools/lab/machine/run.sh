# Running something in dom0: from the booted snapshot, or from a cold boot.

# The script's status that asks for a power cut: the emulator is killed, whatever runs in dom0, started from its disks, and the
# script runs again. What it wants to remember it keeps on a disk, and syncs.
run_power_cut=222
# The status that asks for another host: as after a power cut, but with a new root and new disks for the pool. Only the delivery drive
# and vde are the same.
run_other_host=223
# The status that asks for a restart in order: dom0 is told to, the emulator ends with it, and the rest is as after a power cut.
# For scenarios that systemd boots (# init: systemd).
run_restart=224

# run_start: a machine up to the point where dom0 listens. Needs $lab_hypervisor, $run_fresh, the delivery paths and the script.
run_start() {
  local booted flags=()
  run_base=$(cache_get base)
  machine_xen=$(hypervisor_xen "$lab_hypervisor") machine_xenstored=$(hypervisor_xenstored "$lab_hypervisor")
  if [[ -n ${run_fresh:-} ]]; then
    machine_prepare "$run_base/root.raw" raw
  else
    booted=$(cache_get booted "$lab_hypervisor")
    machine_prepare "$booted/root.qcow2" qcow2
    flags=(-incoming "exec:cat '$booted/memory'")
  fi
  run_write_command "$@"
  delivery_pack
  machine_start "$run_base" "${flags[@]}"
  [[ -z ${run_fresh:-} ]] || machine_hear ready "$lab_boot_limit"
}

# run_write_command WORD…: what dom0 shall do, as a file, so that no argument passes through a second shell; and the hypervisor's name.
run_write_command() {
  mkdir -p "$machine_dir/command"
  printf 'exec' >"$machine_dir/command/.command"
  printf ' %q' "$@" >>"$machine_dir/command/.command"
  echo >>"$machine_dir/command/.command"
  echo "$lab_hypervisor" >"$machine_dir/command/.hypervisor"
  delivery_add "$machine_dir"/command/.{command,hypervisor}
}

# run_script SCRIPT [ARGUMENT…]: streams its output, returns its status. 124 when the machine was lost or the time was over.
run_script() {
  local script=$1 status printer
  shift
  if [[ -f $script ]]; then
    delivery_add_needs "$script"
    delivery_add "$script"
    if grep -q '^# symbols: vmlinux$' "$script"; then delivery_add "$(cache_get symbols)"/{vmlinux,crash.tar}.zst; fi
    if grep -q '^# init: systemd$' "$script"; then machine_init=systemd run_fresh=yes; fi
    script=/lab/$(basename "$script")
    run_start bash "$script" "$@"
  else
    run_start "$script" "$@" # a command that dom0 has
  fi
  while :; do
    : >>"$machine_dir/output"
    tail -q -c +1 -s 0.2 -f --pid="$machine_pid" "$machine_dir/output" &
    printer=$!
    # The restored clock stands where the snapshot was taken: dom0 sets it from ours.
    machine_tell "run $(date +%s)"
    status=124
    ! machine_hear exit "$run_limit" || status=$heard
    [[ $status =~ ^($run_power_cut|$run_other_host|$run_restart)$ ]] || break
    if [[ $status == "$run_restart" ]]; then
      machine_tell reboot
      machine_ends "$lab_boot_limit" || { status=124; break; }
    fi
    machine_end
    wait "$printer" || true
    case $status in
      "$run_power_cut") echo "lab: power cut" ;;
      "$run_restart") echo "lab: restart" ;;
      "$run_other_host") echo "lab: another host"; run_replace_disks ;;
    esac
    machine_start "$run_base"
    machine_hear ready "$lab_boot_limit" || { status=124; break; }
  done
  machine_end
  wait "$printer" || true
  machine_clean
  return "$status"
}

run_replace_disks() {
  local disk
  qemu-img create -q -f qcow2 -F raw -b "$run_base/root.raw" "$machine_dir/vda"
  for disk in vdc vdd; do
    local size
    size=$(stat -c %s "$machine_dir/$disk")
    rm -f "$machine_dir/$disk"
    truncate -s "$size" "$machine_dir/$disk"
  done
}

run_shell() {
  [[ -t 0 ]] || die "lab shell needs a terminal"
  local machine_on_terminal=yes settings
  settings=$(stty -g)
  run_start bash -i
  stty raw -echo
  machine_tell "shell $(date +%s) $(stty size <&1)"
  machine_hear exit 1000000 || true
  stty "$settings"
  machine_clean
}
