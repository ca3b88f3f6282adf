# The symbols of the image's kernel, for scenarios that say so: a line "# symbols: vmlinux". Debian's package of them is 900 MB; what crash
# needs of it is one file, kept compressed.

symbols_key() { key_of <(base_key) "$lab_dir/image/symbols.sh"; }

# symbols_build FOLDER BASE: leaves vmlinux.zst there.
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
}
