# Our own binaries, as of this checkout: built before every run (quick when nothing changed), so that no run can use old ones.

# binaries_build PRODUCT…: leaves their folder in $lab_binaries.
binaries_build() {
  if [[ -n ${CKPT_LAB_BINARIES:-} ]]; then
    lab_binaries=$CKPT_LAB_BINARIES
    return
  fi
  local options=(-c release --static-swift-stdlib --package-path "$repo_dir" --scratch-path "$repo_dir/.build-lab") product log
  log=$(mktemp)
  [[ -e $repo_dir/.build-lab/release/${*: -1} ]] || echo "building ckpt (the first time a minute or two)…" >&2
  for product; do
    if ! swift build "${options[@]}" --product "$product" >"$log" 2>&1; then
      cat "$log" >&2
      rm -f "$log"
      die "$product does not build"
    fi
  done
  rm -f "$log"
  lab_binaries=$(swift build "${options[@]}" --show-bin-path)
}
