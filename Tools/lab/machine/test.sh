# The scenarios of Tests/Lab, each in a machine of its own. A line "# hypervisors: stock shadow" in a scenario names those that it
# runs on; without one it is stock.

# test_all [--jobs N] [--hypervisor NAME] [FILTER]: prints every check, then how many passed. Fails when one failed.
test_all() {
  local jobs=1 filter= only= scenario hypervisor pair pairs=() passed failed running=0
  while (($#)); do
    case $1 in
      --jobs) jobs=${2:?}; shift 2 ;;
      --hypervisor) choose_hypervisor "${2:-}"; only=$2; shift 2 ;;
      -*) die "test: unknown option $1" ;;
      *) filter=$1; shift ;;
    esac
  done
  [[ $jobs =~ ^[1-9][0-9]*$ ]] || die "test: --jobs wants a number, not '$jobs'"
  export CKPT_LAB_BINARIES=$lab_binaries # built once, for all scenarios
  for scenario in "$repo_dir"/Tests/Lab/*.sh; do
    [[ ${scenario##*/} != lib.sh && ${scenario##*/} == *"$filter"* ]] || continue
    # Soaks are the same as others, with more of it: half an hour each, and only when asked for.
    [[ ${scenario##*/} != soak-* || $filter == *soak* ]] || continue
    for hypervisor in $(test_hypervisors "$scenario"); do
      [[ $hypervisor == "${only:-$hypervisor}" ]] || continue
      cache_get booted "$hypervisor" >/dev/null
      pairs+=("$hypervisor $scenario")
    done
  done
  results=$(mktemp -d) # not local: the trap below runs when this function is over
  # kill without a job fails, and would make its status ours.
  trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$results"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  for pair in "${pairs[@]}"; do
    hypervisor=${pair%% *} scenario=${pair#* }
    if ((jobs == 1)); then
      test_one "$scenario" "$hypervisor" "$results" &
      wait $! || true
    else
      ((running++ < jobs)) || wait -n || true
      test_one "$scenario" "$hypervisor" "$results" >"$results/${scenario##*/}.$hypervisor.text" &&
        cat "$results/${scenario##*/}.$hypervisor.text" &
    fi
  done
  wait

  passed=$(cat "$results"/*.lines 2>/dev/null | grep -c '^ok ' || true)
  failed=$(cat "$results"/*.lines 2>/dev/null | grep -c '^FAIL ' || true)
  echo "$passed passed, $failed failed"
  ((failed == 0 && passed > 0))
}

test_hypervisors() { # SCENARIO
  local named
  named=$(sed -n 's/^# hypervisors: *//p' "$1" | head -n 1)
  echo "${named:-stock}"
}

# test_one SCENARIO HYPERVISOR RESULTS: prints its checks, and one more that fails when it did not come to its end in order.
test_one() {
  local name=${1##*/} hypervisor=$2 lines=$3/${1##*/}.$2.lines limit status started=$SECONDS
  name="${name%.sh} [$hypervisor]"
  limit=$(sed -n 's/^# time limit: *\([0-9]\{1,\}\).*/\1/p' "$1" | head -n 1)
  echo "== $name"
  status=0
  # pdeathsig: a test that is killed takes its machine along.
  setpriv --pdeathsig TERM "$lab_dir/lab" run --hypervisor "$hypervisor" --limit "${limit:-300}" "$1" 2>&1 | tee "$lines" |
    grep --line-buffered -vE '^[0-9]+ passed, [0-9]+ failed$' || status=${PIPESTATUS[0]}
  # A scenario that ends early, or with a status that its checks do not explain, is a failure of its own.
  if ! grep -qE '^[0-9]+ passed, [0-9]+ failed$' "$lines"; then
    echo "FAIL  $name did not come to its end (status $status)" | tee -a "$lines"
  elif ((status != 0)) && ! grep -q '^FAIL ' "$lines"; then
    echo "FAIL  $name ended with status $status" | tee -a "$lines"
  fi
  echo "== $name took $((SECONDS - started)) s"
}
