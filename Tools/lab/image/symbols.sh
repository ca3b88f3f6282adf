# What scenarios that look into core files need, for those that say so: a line "# symbols: vmlinux".
#   vmlinux.zst    The symbols of the image's kernel. Debian's package of them is 900 MB; what crash needs of it is one file.
#   crash.tar.zst  crash of Debian 13 with the libraries that it wants. Debian 12's own (8.0.2) finds no tasks in Debian 12's kernels since
#                  `struct pid` ends in a flexible array there (6.1 stable took it from 6.5); crash can read that since 8.0.4.

symbols_key() { key_of <(base_key) "$lab_dir/image/symbols.sh"; }

# symbols_build FOLDER BASE: leaves both there.
symbols_build() {
  local folder=$1 kernel
  kernel=$(basename "$2"/modules/*)
  "$lab_dir/install-needs" symbols
  if ! (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "linux-image-$kernel-dbg"); then
    echo "the symbols of linux-image-$kernel are not to be had from this machine's mirrors"
    return 1
  fi
  dpkg-deb --fsys-tarfile "$folder"/linux-image-*.deb | tar -xO "./usr/lib/debug/boot/vmlinux-$kernel" |
    nice -n 19 zstd -q -T0 -10 -o "$folder/vmlinux.zst"
  rm "$folder"/linux-image-*.deb
  symbols_crash "$folder"
}

# symbols_crash FOLDER: through apt with lists of its own; the machine's settings name the mirror.
symbols_crash() {
  local folder=$1 work=$1/work settings package
  mkdir -p "$work"/{sources,lists/partial,cache/archives/partial,root}
  if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
    sed 's/bookworm/trixie/g' /etc/apt/sources.list.d/debian.sources >"$work/sources/debian.sources"
  else
    sed -n '/^deb /s/bookworm/trixie/gp' /etc/apt/sources.list >"$work/sources/debian.list"
  fi
  settings=(
    -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources"
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache"
  )
  apt-get "${settings[@]}" update
  (cd "$work" && apt-get "${settings[@]}" download crash libc6 libgcc-s1 libgmp10 liblzo2-2 libmpfr6 libncursesw6 libsnappy1v5 \
    libstdc++6 libtinfo6 libzstd1 zlib1g)
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  mkdir "$work/crash"
  cp -L "$work"/root/usr/bin/crash "$work"/root/usr/lib/x86_64-linux-gnu/{ld-linux-x86-64.so.2,lib*.so.[0-9]*} "$work/crash/"
  tar -C "$work" -c crash | zstd -q -10 -o "$folder/crash.tar.zst"
  rm -r "$work"
}
