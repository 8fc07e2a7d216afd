#!/usr/bin/env bash
# Installs the package into a Debian of its own, boots that with systemd-nspawn, and lets the unit do its work there.
#
# docker/packaging/try.sh weft.deb. It takes a minute, root, debootstrap and systemd-container, and the way to a Debian mirror.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
deb="$(realpath "$1")"

root="$(mktemp -d)"
trap 'rm -rf --one-file-system "$root"' EXIT
. /etc/os-release
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,iputils-ping,nftables,procps \
    "${VERSION_CODENAME:?}" "$root" >"$root.log" 2>&1 || {
    tail -n 5 "$root.log" >&2
    exit 1
}
rm -f "$root.log"

cp "$deb" "$root/weft.deb"
chroot "$root" dpkg --install /weft.deb
chroot "$root" weft --version
[ ! -e "$root/etc/systemd/system/multi-user.target.wants/weft.service" ] || {
    echo "error: the package enables a node that nobody has configured" >&2
    exit 1
}

install -m 755 "$here/inside.sh" "$root/inside.sh"
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/inside.sh >/said 2>&1; echo $? >/status; systemctl poweroff'
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../inside.service "$root/etc/systemd/system/multi-user.target.wants/"
timeout --kill-after=10 180 systemd-nspawn --directory "$root" --boot --private-network --register=no --keep-unit \
    --capability=all --bind=/dev/net/tun >"$root/console" 2>&1 </dev/null || true
cat "$root/said" || cat "$root/console"
[ "$(cat "$root/status")" = 0 ]

# What the operator has written stays; who the node was goes with a purge.
echo '# mine' >>"$root/etc/weft/weft.toml"
chroot "$root" dpkg --remove weft
grep -q '^# mine' "$root/etc/weft/weft.toml"
test -d "$root/var/lib/weft"
chroot "$root" dpkg --purge weft
test ! -e "$root/var/lib/weft" && test ! -e "$root/etc/weft/weft.toml"
echo "the package installs, works under its unit, and goes"
