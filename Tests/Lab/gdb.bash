# Sourced by look.bash and crash.bash: what gdb shows of a core.

read_core() { python3 /lab/read-core.py "$@"; }

gdb_shows() { # CORE: rip and rsp of the first vCPU, and that the second is there
  local expected rip rsp text
  expected=$(read_core registers "$1")
  rip=$(answer_field "$expected" rip) rsp=$(answer_field "$expected" rsp)
  text=$(gdb -batch -nx -ex 'info threads' -ex 'info registers' --core "$1" 2>&1)
  echo "$expected"
  echo "$text"
  grep -q "^rip  *$rip" <<<"$text" && grep -q "^rsp  *$rsp" <<<"$text" && grep -q 'LWP 1' <<<"$text" && grep -q 'LWP 2' <<<"$text"
}
