#!/bin/bash
# The first process of a lab host, already in the host's own namespaces: it lays out the host's view
# of the files, then becomes the program that reaps orphans. When that one gets SIGKILL, the kernel
# kills everything in its PID namespace at once, as a loss of power does.
#
#   init.sh DIR NAME REAPER
set -euo pipefail
dir=$1 name=$2 reaper=$3

# /proc is still the machine's here, so this is our pid as the machine sees it.
read -r outer _ </proc/self/stat
echo "$outer" >"$dir/init.outer"

# Copies of mounts that belong to others (other labs, other engines) go, so that none is pinned.
sort -r -k5,5 /proc/self/mountinfo | while read -r _ _ _ _ mount _; do
    case $mount in
    /run/* | /tmp/* | /var/lib/docker/*) umount -l "$mount" 2>/dev/null || true ;;
    esac
done

# Copy on write. They outlive a loss of power and go with a fresh machine.
for part in etc var opt; do
    mkdir -p "$dir/upper/$part" "$dir/scratch/$part"
    mount -t overlay overlay \
        -o "lowerdir=/$part,upperdir=$dir/upper/$part,workdir=$dir/scratch/$part" "/$part"
done
# Gone with the power.
mount -t tmpfs -o mode=755,size=256m tmpfs /run
mkdir -p /run/lock
mount -t tmpfs -o mode=1777,size=256m tmpfs /dev/shm
# /sys of our own network, with the machine's control groups put back into it.
mkdir /run/.cgroup
mount --rbind /sys/fs/cgroup /run/.cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/.cgroup /sys/fs/cgroup
umount -R -l /run/.cgroup
rmdir /run/.cgroup
mount -t proc proc /proc

hostname "$name"
echo "$name" >/etc/hostname
# A machine keeps its id over a boot; a boot has one of its own.
[ -s "$dir/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$dir/machine-id"
cp "$dir/machine-id" /etc/machine-id
cat /proc/sys/kernel/random/uuid >/run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
cp "$dir/hosts" /etc/hosts
# The lab leads nowhere: a name that is not in the file is refused at once.
: >/etc/resolv.conf
touch "$dir/init.ready"
cd /
exec "$reaper" -- sleep infinity
