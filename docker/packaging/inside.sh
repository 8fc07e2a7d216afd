#!/bin/sh
# Runs in the booted Debian of try.sh: the node of the unit, and beside it a peer without one in a namespace of its own.
set -eux

up() {
    ip netns exec peer weft --socket /run/peer.sock up --state-dir /var/lib/peer --docker off --name peer "$@"
}
# Exit statuses behind `!` do not end a shell.
refused() {
    if "$@"; then exit 1; fi
}

ip link set lo up
ip netns add peer
ip link add u0 type veth peer name u0 netns peer
ip address add 192.0.2.1/24 dev u0
ip link set u0 up
ip -n peer link set lo up
ip -n peer address add 192.0.2.2/24 dev u0
ip -n peer link set u0 up

# Nobody has said how the node comes to be: it does not guess.
refused systemctl start weft
journalctl --unit weft --no-pager | grep -e --bootstrap
systemctl stop weft

printf 'bootstrap = true\ntoken-out = "/var/lib/weft/token"\nadvertise = "192.0.2.1"\ndocker = "on"\n' >>/etc/weft/weft.toml
systemctl enable --now weft
pid="$(systemctl show --property MainPID --value weft)"
grep -E '^(Seccomp|NoNewPrivs|CapBnd):' "/proc/$pid/status"
grep -q '^Seccomp:.*2$' "/proc/$pid/status"
test "$(stat --format %a:%G /run/weft/weft.sock)" = 660:weft
test -S /run/docker/plugins/weft.sock

up --join 192.0.2.1 --token-file /var/lib/weft/token --advertise 192.0.2.2 &
timeout 30 sh -c 'until weft --socket /run/peer.sock status; do sleep 0.2; done'
weft network create blue --subnet 10.77.0.0/24
# Namespaces that are made while the daemon runs, by name and by process.
ip netns add c1
endpoint="$(weft attach blue --netns c1 --ip 10.77.0.11 | cut -d ' ' -f 1)"
ip netns add c2
timeout 10 sh -c 'until weft --socket /run/peer.sock attach blue --netns c2 --ip 10.77.0.12; do sleep 0.2; done'
unshare --net sleep 1000 &
sleep 0.5
other="$(weft attach blue --netns "/proc/$!/ns/net" --ip 10.77.0.13 | cut -d ' ' -f 1)"
ip netns exec c2 ping -c 2 -i 0.2 -W 5 10.77.0.11
ip netns exec c2 ping -c 2 -i 0.2 -W 5 10.77.0.13

# A bridge lets the host forward, and writes rules.
ip netns add c3
weft network create nat --driver bridge --subnet 10.78.0.0/24
weft attach nat --netns c3
test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1
nft list ruleset | grep -q masquerade

# SIGHUP, and a crash: a running container's interface is taken up again.
echo 'metrics = 9469' >>/etc/weft/weft.toml
systemctl reload weft
timeout 10 sh -c 'until weft events | grep reloaded; do sleep 0.2; done'
systemctl kill --signal KILL weft
timeout 30 sh -c "until [ \"\$(systemctl show --property MainPID --value weft)\" != $pid ] && weft status >/dev/null 2>&1; do sleep 0.2; done"
timeout 30 ip netns exec c2 sh -c 'until ping -c 1 -W 1 10.77.0.11 && ping -c 1 -W 1 10.77.0.13; do :; done'
weft doctor --json >/dev/null || weft doctor
refused sh -c "journalctl --unit weft --no-pager | grep -E 'EPERM|Permission denied|Operation not permitted|panicked'"
weft detach "$endpoint"
weft detach "$other"
refused ip -n c1 link show eth0

# Who has left stays away, for longer than the unit waits before it starts the node again.
weft leave
sleep 3
refused systemctl is-active --quiet weft
