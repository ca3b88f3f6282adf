# The guest module (Tools/guest-module), built for the kernel of the image as a user would build it: against the distribution's
# headers. They are unpacked here, not installed, so that this machine may run another kernel. Beside it, for the lab only, a module
# that makes a guest's kernel hostile.

module_sources=("$repo_dir"/Tools/guest-module/{ckpt_suspend.c,Makefile} "$lab_dir"/hostile/{ckpt_hostile.c,Makefile})

module_key() { key_of <(base_key; key_of "${module_sources[@]}" "$lab_dir/image/module.sh"); }

# module_build FOLDER BASE: leaves ckpt_suspend.ko and ckpt_hostile.ko there.
module_build() {
  local folder=$1 work=$1/work package headers source name
  for package in "$2"/headers/*.deb; do dpkg-deb -x "$package" "$work"; done
  headers=$(echo "$work"/usr/src/linux-headers-*-amd64)
  sed -i "s|/usr/src|$work/usr/src|" "$headers/Makefile"
  for source in "$repo_dir/Tools/guest-module/ckpt_suspend.c" "$lab_dir/hostile/ckpt_hostile.c"; do
    name=$(basename "$source" .c)
    mkdir -p "$work/$name"
    cp "$source" "${source%/*}/Makefile" "$work/$name/"
    if ! make -C "$work/$name" KDIR="$headers" KCFLAGS=-Werror >"$work/log" 2>&1; then
      cat "$work/log"
      return 1
    fi
    strip -g -o "$folder/$name.ko" "$work/$name/$name.ko"
  done
  rm -rf "$work"
}
