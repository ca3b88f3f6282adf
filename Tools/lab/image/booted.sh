# The booted snapshot: a dom0 that has come up, with its memory (a QEMU migration stream) and the overlay of its root disk.
# One for each hypervisor. A run starts from it without copying: a new overlay on the overlay, and -incoming reads the stream.

booted_key() { # HYPERVISOR
  key_of <(
    base_key
    machine_key
    hypervisor_key "$1"
    hypervisor_xenstored "$1"
    key_of "$lab_dir"/dom0/* "$lab_dir/machine/delivery.sh" "$lab_dir/image/booted.sh"
  )
}

# booted_build FOLDER BASE HYPERVISOR: leaves root.qcow2 and memory there.
booted_build() {
  local folder=$1 base=$2 machine_xen line
  machine_xen=$(hypervisor_xen "$3") machine_xenstored=$(hypervisor_xenstored "$3")
  machine_prepare "$base/root.raw" raw
  delivery_pack dom0
  machine_start "$base"
  machine_hear ready "$lab_boot_limit"

  # The stream is written at full speed: the default limit is meant for networks.
  printf '%s\n' 'migrate_set_parameter max-bandwidth 100G' "migrate \"exec:cat >$folder/memory\"" 'info status' \
    >&"$monitor_tells"
  while IFS= read -r -t 120 -u "$monitor_says" line; do
    [[ $line != *"VM status:"* ]] || break
  done
  [[ $line == *postmigrate* ]] || { machine_report "the booted machine could not be saved: $line"; return 1; }
  echo quit >&"$monitor_tells" # ends in order, so that the overlay's tables are written
  wait "$machine_pid"
  machine_pid=
  mv "$machine_dir/vda" "$folder/root.qcow2"
  machine_clean
}
