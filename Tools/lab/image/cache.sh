# The cache, outside git: one folder per layer and key. A layer is used only under the key of all that went into it, so a
# stale one cannot be picked up; several checkouts may share the cache.

cache_dir=${CKPT_LAB_CACHE:-$HOME/.cache/ckpt-lab}

# key_of FILE…: one short key of the files' contents and names.
key_of() {
  local file
  for file; do
    echo "${file##*/}" | grep -v '^[0-9]*$' || true # a /dev/fd number says nothing
    cat "$file"
  done | sha256sum | cut -c1-16
}

# cache_get LAYER [VARIANT]: prints the layer's folder, building it first when there is none for its key.
cache_get() {
  local layer=$1 variant=${2:-} key folder
  key=$("${layer}_key" ${variant:+"$variant"})
  folder=$cache_dir/$layer${variant:+-$variant}-$key
  [[ -e $folder/.complete ]] || cache_build "$folder" "$layer" ${variant:+"$variant"} >&2
  touch "$folder/.complete" # what is in use stays
  echo "$folder"
}

# cache_build FOLDER LAYER [VARIANT]: in a folder of another name, renamed when complete; one builder at a time per cache.
cache_build() {
  local folder=$1 new=$1.new layer=$2 variant=${3:-} base= started=$SECONDS
  local name=$layer${variant:+-$variant}
  [[ $layer == base ]] || base=$(cache_get base)
  mkdir -p "$cache_dir"
  (
    flock 9
    [[ ! -e $folder/.complete ]] || exit 0 # someone else was quicker
    echo "lab: building the $name layer…"
    trap 'echo "lab: the $name layer was not built"' EXIT
    rm -rf "$new" "$folder"
    mkdir -p "$new"
    "${layer}_build" "$new" ${base:+"$base"} ${variant:+"$variant"}
    touch "$new/.complete"
    mv "$new" "$folder"
    trap - EXIT
    echo "lab: the $name layer is ready after $((SECONDS - started)) s"
    cache_prune "$name"
  ) 9>"$cache_dir/.lock-$name"
}

# cache_prune NAME: keeps the four youngest by use. A layer in use may go: its user holds the files open.
cache_prune() {
  local old
  ls -td "$cache_dir/$1"-*/ 2>/dev/null | tail -n +5 | while read -r old; do rm -rf "$old"; done
}
