# The guest module (Tools/guest-module), built for the kernel of the image as a user would build it: against the distribution's
# headers. They are unpacked here, not installed, so that this machine may run another kernel.

module_key() { key_of <(base_key; key_of "$repo_dir"/Tools/guest-module/{ckpt_suspend.c,Makefile} "$lab_dir/image/module.sh"); }

# module_build FOLDER BASE: leaves ckpt_suspend.ko there.
module_build() {
  local folder=$1 work=$1/work package headers
  mkdir -p "$work/module"
  for package in "$2"/headers/*.deb; do dpkg-deb -x "$package" "$work"; done
  headers=$(echo "$work"/usr/src/linux-headers-*-amd64)
  sed -i "s|/usr/src|$work/usr/src|" "$headers/Makefile"
  cp "$repo_dir"/Tools/guest-module/{ckpt_suspend.c,Makefile} "$work/module/"
  if ! make -C "$work/module" KDIR="$headers" KCFLAGS=-Werror >"$work/log" 2>&1; then
    cat "$work/log"
    return 1
  fi
  strip -g -o "$folder/ckpt_suspend.ko" "$work/module/ckpt_suspend.ko"
  rm -rf "$work"
}
