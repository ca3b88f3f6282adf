# The delivery drive: a tar on a raw disk. dom0 unpacks it to /lab, at boot and again before every run, so that what changes
# at each edit (our binaries, scenarios, guests) is never part of the booted snapshot.

delivery_bytes=$((256 << 20))

# delivery_add PATH…: files or folders that will lie under /lab in dom0, by their own name.
delivery_paths=()
delivery_add() { delivery_paths+=("$@"); }

# delivery_add_needs SCRIPT: what its line "# needs: …" names, as `lab help` says.
delivery_add_needs() {
  local need packages=$repo_dir/.build-lab/packages
  for need in $(sed -n 's/^# needs: *//p' "$1"); do
    case $need in
      packages)
        "$repo_dir/Tools/package" "$packages" >/dev/null
        delivery_add "$packages"
        ;;
      examples) delivery_add "$repo_dir/README.md" "$repo_dir/Tools/packaging/man" "$lab_dir/demo-in-dom0" ;;
      *) die "$1: needs '$need', which is none of: packages, examples" ;;
    esac
  done
}

# delivery_pack [dom0]: writes the drive of the machine that is being prepared. With 'dom0' only what the boot needs.
delivery_pack() {
  local stage=$machine_dir/stage path
  mkdir -p "$stage/.dom0"
  cp "$lab_dir"/dom0/* "$stage/.dom0/"
  if [[ ${1:-} != dom0 ]]; then
    cp -r "$lab_dir/guests" "$stage/guests"
    cp "$(cache_get probe)/probe.img" "$stage/guests/"
    mkdir -p "$stage/.bin"
    cp "$lab_binaries"/{ckpt,ckptd,ckpt-guard,ckpt-bench} "$stage/.bin/"
    strip "$stage"/.bin/*
    [[ ! -d $repo_dir/Tests/Lab ]] || cp -r "$repo_dir"/Tests/Lab/. "$stage/"
    for path in "${delivery_paths[@]}"; do cp -rL "$path" "$stage/"; done
  fi
  tar -C "$stage" -cf "$machine_dir/vdb" .
  rm -rf "$stage"
  if (($(stat -c %s "$machine_dir/vdb") > delivery_bytes)); then
    die "the files to deliver are larger than the delivery drive ($((delivery_bytes >> 20)) MiB)"
  fi
  truncate -s "$delivery_bytes" "$machine_dir/vdb"
}
