# The probe guest's initramfs: busybox, the modules its disks need, our guest module and the hostile one, and the probe. It boots with dom0's kernel.

probe_key() { key_of <(base_key; module_key; key_of "$lab_dir"/probe/* "$lab_dir/image/probe.sh" /bin/busybox); }

# ext4 asks the kernel for "crc32c" by name, which modules.dep does not know of.
probe_modules=(xen-blkfront crc32c_generic ext4)

# probe_build FOLDER BASE: leaves probe.img there.
probe_build() {
  local folder=$1 modules root=$1/root module path
  modules=$(echo "$2"/modules/*)
  mkdir -p "$root"/{bin,sbin,modules,proc,sys,dev}
  gcc -D_GNU_SOURCE -O2 -static -pthread -Wall -Wextra -Werror -Wno-format-truncation -o "$root/probe" "$lab_dir"/probe/*.c
  strip "$root/probe"
  cp "$(cache_get module)"/*.ko "$root/modules/"
  install -m 755 "$lab_dir/probe/init" "$root/init"
  cp /bin/busybox "$root/bin/busybox"
  # xl shutdown and xl reboot make the guest's kernel call these.
  printf '#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n' >"$root/sbin/poweroff"
  printf '#!/bin/busybox sh\nexec /bin/busybox reboot -f\n' >"$root/sbin/reboot"
  chmod +x "$root"/sbin/*
  for module in "${probe_modules[@]}"; do
    # modules.dep names a module and all it needs, the needed ones in the reverse order of loading.
    for path in $(sed -n "s|^\(.*/$module\.ko\): *|\1 |p" "$modules/modules.dep" | tr ' ' '\n' | tac); do
      [[ ! -e $root/modules/${path##*/} ]] || continue
      cp "$modules/$path" "$root/modules/"
      echo "${path##*/}" >>"$root/modules/order"
    done
  done
  (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/probe.img"
  rm -rf "$root"
}
