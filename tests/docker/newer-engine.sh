#!/usr/bin/env bash
# Gets the newest Docker Engine that Debian has, with the containerd and runc that belong to it, into a directory of its own.
# Nothing is installed, and the engine that is stays as it is:
#
#   tests/docker/newer-engine.sh DIR
#   WEFT_DOCKERD_DIR=DIR cargo test --test docker
#
# It needs apt, dpkg and the way to a Debian mirror (MIRROR, SUITE), and patchelf where this system's C library is older than
# what a program was built for: that one then gets its own.
set -euo pipefail
dir="$(realpath -m "${1:?usage: $0 DIR}")"
[ ! -e "$dir" ] || { echo "error: $dir is there already" >&2; exit 1; }

made="$(mktemp -d)"
trap 'rm -rf "$made"' EXIT
mkdir -p "$made"/lists/partial "$made"/cache/archives/partial "$made"/root
touch "$made/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "${MIRROR:-http://deb.debian.org/debian} ${SUITE:-sid} main" >"$made/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$made/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$made/lists" -o Dir::State::Status="$made/status" -o Dir::Cache="$made/cache" \
        -o APT::Sandbox::User=root "$@"
}
apt update
cd "$made"
apt download docker.io docker-cli containerd runc tini-static libc6 libsystemd0 libcap2 libseccomp2
for package in *.deb; do dpkg --extract "$package" root; done

engine="$made/engine"
mkdir -p "$engine/lib"
find root -path '*/lib/*' -name 'l*.so*' -exec cp --no-dereference {} "$engine/lib/" \;
cp root/usr/bin/tini-static "$engine/docker-init"
for program in dockerd docker docker-proxy containerd containerd-shim-runc-v2 runc; do
    cp "$(find root/usr -path "*bin/$program" -type f)" "$engine/$program"
    # Not in a pipe: ldd fails where it finds something missing.
    missing="$(ldd "$engine/$program" 2>&1 || true)"
    [[ "$missing" != *'not found'* ]] ||
        patchelf --set-interpreter "$dir/lib/ld-linux-x86-64.so.2" --set-rpath "$dir/lib" "$engine/$program"
done
mv "$engine" "$dir"
"$dir/dockerd" --version
"$dir/runc" --version
