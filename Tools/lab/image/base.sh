# The lab's dom0: a root file system with Xen, its tools and a kernel. Slow to make (minutes), so it depends on as little as
# possible: what dom0 does once booted comes on the delivery drive (see machine/delivery.sh).

base_packages() { sed 's/#.*//' "$lab_dir/image/packages" | tr -s ' \n' '\n' | sed '/^$/d'; }

base_key() { key_of "$lab_dir"/image/{base.sh,packages,first-init,fetch-headers}; }

# Drivers that no emulated machine has: leaving them out halves the image and the initramfs.
base_left_out=(
  '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/info/*'
  '/lib/modules/*/kernel/sound/*'
  '/lib/modules/*/kernel/drivers/'{gpu,media,infiniband,staging,iio,hwmon,usb,input,hid,mmc,mtd,video,platform,isdn,comedi,bluetooth,scsi,edac,leds,thunderbolt,firewire,nvme,message,soundwire,accel,crypto}'/*'
  '/lib/modules/*/kernel/drivers/net/'{wireless,ethernet,usb,can,hamradio,fddi,phy,dsa,wwan,ieee802154}'/*'
  '/lib/modules/*/kernel/net/'{bluetooth,mac80211,wireless,sctp,can,batman-adv,tipc,rxrpc,nfc,ceph,openvswitch}'/*'
  '/lib/modules/*/kernel/fs/'{btrfs,xfs,ocfs2,ceph,gfs2,nfs,nfsd,cifs,smb,jfs,reiserfs,f2fs,ubifs,afs,nilfs2,orangefs,dlm,ntfs,ntfs3,hfs,hfsplus,udf}'/*'
)

# base_build FOLDER: leaves root.raw (ext4), xen (multiboot ELF) and xen.config, vmlinuz, initrd, modules (for the probe guest)
# and headers (packages) there. dom0's /boot/vmlinux is the same kernel unpacked, for guests: libxc unpacks a vmlinuz at each start, and
# emulated that takes longer than all else that xl does then.
base_build() {
  local folder=$1 root=$1/root options=() pattern sources=()
  mkdir "$folder/headers"
  for pattern in "${base_left_out[@]}"; do options+=("--dpkgopt=path-exclude=$pattern"); done
  # The mirror this machine is set up for; without a sources file, mmdebstrap's own choice.
  [[ ! -e /etc/apt/sources.list.d/debian.sources ]] || sources=(/etc/apt/sources.list.d/debian.sources)

  mmdebstrap --quiet --variant=minbase --include="$(base_packages | paste -sd,)" "${options[@]}" \
    --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
    --customize-hook="$lab_dir/image/fetch-headers" \
    bookworm "$root" "${sources[@]}"

  local kernel
  kernel=$(basename "$root"/boot/vmlinuz-*) && kernel=${kernel#vmlinuz-}
  gunzip -c "$root"/boot/xen-4.17-amd64.gz >"$folder/xen" # QEMU's multiboot loader wants the plain ELF
  cp "$root/boot/xen-4.17-amd64.config" "$folder/xen.config"
  cp "$root/boot/vmlinuz-$kernel" "$folder/vmlinuz"
  cp "$root/boot/initrd.img-$kernel" "$folder/initrd"
  mkdir "$folder/modules"
  cp -a "$root/lib/modules/$kernel" "$folder/modules/"

  install -m 755 "$lab_dir/image/first-init" "$root/lab-first-init"
  ln -sf "vmlinuz-$kernel" "$root/boot/vmlinuz"
  base_unpack_kernel "$folder/vmlinuz" >"$root/boot/vmlinux"
  # The guests' memory comes from what Xen kept back at boot (dom0_mem): dom0 must not change size under a test.
  sed -i '/^#*autoballoon=/d' "$root/etc/xen/xl.conf"
  echo 'autoballoon="off"' >>"$root/etc/xen/xl.conf"
  echo dom0 >"$root/etc/hostname"
  printf '127.0.0.1 localhost dom0\n' >"$root/etc/hosts"
  rm -rf --one-file-system "$root"/{dev,proc,sys,run,tmp,var/cache/apt,var/lib/apt/lists}
  mkdir -p "$root"/{dev,proc,sys,run,tmp,lab,var/lib/ckpt} && chmod 1777 "$root/tmp"

  truncate -s 8G "$folder/root.raw"
  mkfs.ext4 -q -F -L dom0 -E lazy_itable_init=1,nodiscard -d "$root" "$folder/root.raw"
  rm -rf "$root"
}

# base_unpack_kernel VMLINUZ: the ELF in it, as the setup header says where it lies (Linux, Documentation/arch/x86/boot.rst:
# setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c). Debian packs it with xz; the length of the unpacked kernel
# follows, which is no part of xz's stream.
base_unpack_kernel() {
  local sectors offset length
  sectors=$(od -An -t u1 -j $((0x1f1)) -N 1 "$1")
  read -r offset length < <(od -An -t u4 -j $((0x248)) -N 8 "$1")
  head -c "$(((sectors + 1) * 512 + offset + length))" "$1" | tail -c "$length" | xz -dc --single-stream
}
