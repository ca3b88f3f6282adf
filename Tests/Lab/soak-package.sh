#!/bin/bash
# Our Debian packages in a dom0 without systemd: installed, used, upgraded in the middle of a take, removed and purged, while a guest runs
# all the time. soak-systemd.sh does it on a host that systemd has booted.
# needs: packages
# time limit: 1200
set -uo pipefail
. /lab/lib.sh

export DEBIAN_FRONTEND=noninteractive
log=/run/lab/ckptd.log
mkdir -p /run/lab
# What the lab brings along would be found before what is installed.
rm -f /usr/local/bin/{ckpt,ckptd,ckpt-guard}

# The image leaves manual pages out.
install_package() { dpkg --path-include='/usr/share/man/*' -i "$@" </dev/null; }
# next_version VERSION: the same package under a higher number; prints its name.
next_version() {
  local tree=/var/tmp/tree
  [[ -e $tree ]] || dpkg-deb -R /lab/packages/ckpt_*_amd64.deb $tree
  sed -i "s/^Version: .*/Version: $1/" $tree/DEBIAN/control
  dpkg-deb -Znone -b $tree "/var/tmp/ckpt-$1.deb" >/dev/null && echo "/var/tmp/ckpt-$1.deb"
}
version() { dpkg-query -W -f '${Version} ${db:Status-Status}' ckpt; }

daemon_starts() { # [WORD…]: with more in its environment
  : >"$log"
  env "$@" setsid ckptd </dev/null >>"$log" 2>&1 &
  check "the service starts" until_true 60 grep "ready on" "$log"
}
# ends_well PID FILE TEXT: waits (a check runs in a process of its own, which has no children), then checks; FILE has what it said.
ends_well() {
  local code=0
  wait "$1" || code=$?
  check "$3" eval "cat $2; ((code == 0))"
}
store_files() { find /var/lib/ckpt -type f | sort; }
is_untouched() { # WHEN
  check "$1: the guest is the one it was" test "$(guest_domid web)" = "$domid"
  check "$1: it is right, and so are its disks" guest_is_right web "$nonce"
  check "$1: it works on" guest_goes_on web
}

# complete LINE: what bash offers at the end of it.
complete_in_bash() {
  bash -c '. /usr/share/bash-completion/completions/ckpt
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=($1)
    [[ $1 != *" " ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _ckpt ckpt "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"' - "$1"
}
offers() { [[ " $(complete_in_bash "$1") " == *" $2 "* ]] || { complete_in_bash "$1"; return 1; }; }

echo "-- installing, without systemd"
check "the package installs" install_package /lab/packages/ckpt_*_amd64.deb
check "the group is there" getent group ckpt
check "the units are enabled" \
  eval 'cd /etc/systemd/system && ls multi-user.target.wants/{ckptd,ckpt-pools}.service sockets.target.wants/ckptd.socket'
check "nothing was started" eval '! pgrep -x ckptd'
check "ckpt.conf is the package's, and has no faults" eval 'dpkg -S /etc/ckpt/ckpt.conf && ckpt config check'
for page in "1 ckpt" "1 ckpt-take" "5 ckpt.conf" "8 ckptd" "8 ckpt-guard"; do
  check "man $page" eval "man $page | grep NAME"
done
check "man ckpt-take tells of its options" eval 'man ckpt-take | grep -- --limit-rate'
verbs=$(ckpt --help | sed -n '/^SUBCOMMANDS/,/^ *See/s/^  \([a-z-]\{1,\}\)  .*/\1/p')
check "each of $(wc -w <<<"$verbs") commands has its page" \
  eval '[[ -n $verbs ]] && for verb in $verbs; do man -w ckpt-$verb || exit 1; done'
check "bash completes a command" offers "ckpt ta" take
check "a command's command" offers "ckpt schedule " remove
check "and an option" offers "ckpt take --lim" --limit-rate
check "all files are as they were packed" eval '! dpkg --verify ckpt | grep -v /usr/share/doc'

echo "-- in use"
check "a pool" ckpt pool create main --data /dev/vdc --metadata /dev/vdd --yes
disk=$(ckpt disk create web xvda --size 64M | tail -n 1)
check "a guest starts" guest_start pv web memory=128 area=32 rate=2 disks="phy:$disk,xvda,w"
nonce=$(guest_nonce web)
domid=$(guest_domid web)
check "a take without the service" ckpt take web
check "bash completes the guest's name" offers "ckpt take " web
check "and the pool's" offers "ckpt pool show " main
daemon_starts
check "its socket is the group's" eval '[[ $(stat -c "%U %G %a" /run/ckpt/ckptd.sock) == "root ckpt 660" ]]'

echo "-- upgrades in the middle of takes"
package=$(next_version 900)
ckpt take web --limit-rate 1M >/run/lab/take.out 2>&1 & take=$!
until_true 60 eval 'ckpt status --json 2>/dev/null | grep "\"kind\" : \"take\"" >/dev/null'
check "an upgrade without systemd" install_package "$package"
check "it is there" test "$(version)" = "900 installed"
ends_well "$take" /run/lab/take.out "the take ends well"
is_untouched "upgraded"
check "the service goes on until it is told to end" pgrep -x ckptd
pkill -TERM -x ckptd
check "and ends" until_true 20 eval '! pgrep -x ckptd'
daemon_starts
check "the next take" ckpt take web
check "three epochs" test "$(ckpt list web --json | grep -c '"epoch"')" = 3

echo "-- removing"
pkill -TERM -x ckptd
until_true 20 eval '! pgrep -x ckptd'
check "the package is removed" dpkg -r ckpt
check "the programs are gone" eval '[[ -z $(ls -d /usr/bin/ckpt /usr/sbin/ckptd /usr/lib/ckpt 2>/dev/null) ]]'
check "ckpt.conf stays" test -e /etc/ckpt/ckpt.conf
is_untouched "removed"
check "installed again, it knows the epochs" eval 'install_package "$package" && [[ $(ckpt list web --json | grep -c "\"epoch\"") == 3 ]]'
check "back to the first epoch" ckpt restore web 1 --yes
domid=$(guest_domid web)
is_untouched "restored"

echo "-- purging"
before=$(store_files)
check "the package is purged, and says in one line what it leaves" \
  eval '[[ $(dpkg -P ckpt 2>&1 | tee /run/lab/dpkg.log | grep -c "^ckpt: /var/lib/ckpt") == 1 ]] || { cat /run/lab/dpkg.log; false; }'
check "nothing is left of its configuration" eval '[[ -z $(ls -d /etc/ckpt /etc/systemd/system/*/ckpt* 2>/dev/null) ]]'
check "the store is as it was" diff <(echo "$before") <(store_files)
is_untouched "purged"
guest_stop web
check "with an empty store" eval 'install_package "$package" && rm -rf /var/lib/ckpt && mkdir /var/lib/ckpt'
check "it is purged without a word of it" eval '! dpkg -P ckpt | grep "^ckpt:"'
check "and nothing is left" eval '[[ ! -e /var/lib/ckpt && ! -e /etc/ckpt ]]'
lab_finish
