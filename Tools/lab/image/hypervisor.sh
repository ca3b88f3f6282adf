# The hypervisors that the lab can boot. "stock" is Debian's, out of the base layer. It is built without shadow paging, so it
# has no log-dirty for PV guests; most other builds have it. "shadow" is Debian's source with Debian's configuration and that one
# option: a layer of its own.

lab_hypervisors=(stock shadow)

# hypervisor_xen NAME: prints the path of its multiboot ELF.
hypervisor_xen() {
  local layer=base
  [[ $1 == stock ]] || layer=$1
  layer=$(cache_get "$layer")
  echo "$layer/xen"
}

# hypervisor_xenstored NAME: prints the store's daemon that dom0 runs on it: oxenstored, which Debian starts unless /etc/default/xen says
# otherwise, or the one that is written in C. They differ where it matters to us (Tests/Lab/hostile.bash, deaf).
hypervisor_xenstored() { if [[ $1 == stock ]]; then echo oxenstored; else echo xenstored; fi; }

# hypervisor_key NAME: what a booted snapshot depends on beside the base.
hypervisor_key() { [[ $1 == stock ]] || "$1_key"; }

shadow_key() { key_of "$lab_dir/image/hypervisor.sh" "$(cache_get base)/xen.config"; }

# shadow_build FOLDER BASE: leaves xen there.
shadow_build() {
  local folder=$1 work=$1/work
  "$lab_dir/install-needs" hypervisor
  mkdir "$work"
  shadow_fetch "$work"
  (cd "$work" && dpkg-source -x ./*.dsc source >/dev/null 2>"$work/log") || { cat "$work/log"; return 1; }
  sed 's/^# CONFIG_SHADOW_PAGING is not set$/CONFIG_SHADOW_PAGING=y/' "$2/xen.config" >"$work/source/xen/.config"
  shadow_make "$work" olddefconfig
  grep -q '^CONFIG_SHADOW_PAGING=y$' "$work/source/xen/.config" || { echo "Xen's configuration takes no SHADOW_PAGING"; return 1; }
  shadow_make "$work"
  cp "$work/source/xen/xen" "$folder/xen"
  rm -rf "$work"
}

shadow_make() { # WORK [TARGET]
  if ! nice -n 19 make -C "$1/source/xen" -j"$(nproc)" XEN_TARGET_ARCH=x86_64 ${2:+"$2"} >"$1/log" 2>&1; then
    tail -n 30 "$1/log"
    echo "Xen does not build"
    return 1
  fi
}

# shadow_fetch FOLDER: the package's source, through apt with lists of its own: the machine's settings name the mirror and
# stay as they are. The tools of one 4.17 work with the hypervisor of another, so where the newest is gone an older one will do.
shadow_fetch() {
  local folder=$1 version
  mkdir -p "$folder"/{sources,lists/partial,cache/archives/partial}
  if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$folder/sources/debian.sources"
  else
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$folder/sources/debian.list"
  fi
  cat >"$folder/apt.conf" <<SETTINGS
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$folder/sources";
Dir::State::Lists "$folder/lists";
Dir::Cache "$folder/cache";
Acquire::Retries "3";
Acquire::Languages "none";
APT::Sandbox::User "root";
SETTINGS
  local -x APT_CONFIG=$folder/apt.conf
  apt-get update -qq
  for version in $(apt-cache showsrc xen | sed -n 's/^Version: \(4\.17\..*\)/\1/p' | sort -rVu); do
    (cd "$folder" && apt-get source -qq --download-only "xen=$version" >"$folder/log" 2>&1) && return
    rm -f "$folder"/xen_*
  done
  cat "$folder/log"
  echo "the source of xen 4.17 is not to be had from this machine's mirrors"
  return 1
}
