#!/usr/bin/env bash
# Looks into the root of a machine image without booting it: what hosts may not share, and what must be there.
#
#   ami/check-root.sh ROOT.tar|DIRECTORY      as root, since it runs the image's programs in the root
#
# Each check is a line. All are made, whatever fails.
set -euo pipefail

given=${1-}
work=$(mktemp -d --tmpdir holdfast-check.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
if [ -d "$given" ]; then
    root=$given
elif [ -f "$given" ]; then
    root=$work/root
    mkdir "$root"
    tar -C "$root" -xpf "$given"
else
    echo "usage: $0 ROOT.tar|DIRECTORY" >&2
    exit 64
fi

failed=0
# check WHAT COMMAND…: what the command says is shown if it fails.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok: $what"
    else
        echo "FAILED: $what${said:+: $said}"
        failed=$((failed + 1))
    fi
}

in_root() {
    chroot "$root" /usr/bin/env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

# absent PATTERN…: nothing in the root has such a path.
absent() {
    local pattern found=0
    for pattern in "$@"; do
        if compgen -G "$root/$pattern"; then found=1; fi
    done
    return "$found"
}

is_empty() { [ -f "$root/$1" ] && [ ! -s "$root/$1" ]; }

# In which words a key would stand; compiled programs have the beginning of one for themselves.
no_cluster_key() { ! grep -rIlE 'hfk1_[a-z0-9]{20}' "$root"/{etc,var,root,home,tmp,srv,opt}; }

# A field of a password that is a hash, or nothing at all, lets somebody in.
nobody_can_log_in() { ! grep -vE '^[^:]+:[!*]' "$root/etc/shadow"; }

# Of verify, any word is a complaint: it ends with 0 for some. The image has no manual pages.
units_are_clean() {
    local said
    said=$(in_root systemd-analyze verify --man=no "$@" 2>&1) || said=${said:-it failed without a word}
    echo "$said"
    [ -z "$said" ]
}

nothing_half_installed() { [ -z "$(in_root dpkg --audit | tee /dev/stderr)" ]; }

check "machine-id is there and empty" is_empty etc/machine-id
check "no other machine-id, no seeds, no host name" \
    absent var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/systemd/credential.secret etc/hostname
check "no SSH host keys, nobody's keys" absent 'etc/ssh/ssh_host_*' root/.ssh/authorized_keys 'home/*/.ssh'
check "no identity or state of Docker" absent etc/docker/key.json 'var/lib/docker/*' 'var/lib/containerd/*'
check "no identity or state of Holdfast" absent 'var/lib/holdfast/*' etc/holdfast/cluster.key
check "no cluster key anywhere" no_cluster_key
check "no settings but those that the package brings" absent etc/default/holdfast
check "nobody can log in" nobody_can_log_in
check "nothing is left of the bake" absent usr/sbin/policy-rc.d etc/dpkg/dpkg.cfg.d/bake 'tmp/*' 'var/tmp/*' \
    'var/lib/apt/lists/*_Packages' 'var/cache/apt/archives/*.deb' 'var/log/journal/*' 'var/lib/cloud/instance*'
for unit in docker.service containerd.service holdfast.service holdfast-leave.service; do
    check "$unit is enabled" in_root systemctl is-enabled --quiet "$unit"
done
# What a base other than ours has instead is its own business.
for unit in systemd-networkd.service systemd-resolved.service holdfast-hostname.service; do
    if [ ! -e "$root/usr/lib/holdfast-image" ]; then continue; fi
    check "$unit is enabled" in_root systemctl is-enabled --quiet "$unit"
done
mapfile -t units < <(find "$root/lib/systemd/system" "$root/etc/systemd/system" -maxdepth 1 -type f \
    -name 'holdfast*.service' -printf '%f\n' | sort)
check "systemd has nothing to say of ${units[*]}" units_are_clean "${units[@]}" docker.service
check "every package is installed in full" nothing_half_installed
check "there is a kernel, and its initrd" in_root sh -c 'ls /boot/vmlinuz-* /boot/initrd.img-*'
check "holdfast runs: $(in_root holdfast --version 2>&1 | head -n 1)" in_root holdfast --version
check "docker runs: $(in_root dockerd --version 2>&1 | head -n 1)" in_root dockerd --version

if [ "$failed" != 0 ]; then
    echo "$failed checks failed"
    exit 1
fi
