#!/usr/bin/env bash
# Bakes the machine image: a Debian 12 with a kernel, systemd, Docker and Holdfast, as a disk that boots.
#
#   ami/bake.sh [--deb FILE] [--include PACKAGE,…] [--image-archive FILE]… [--root-only] [OUT]
#
#   --deb             Holdfast's package; without it, packaging/package.sh makes one
#   --include         more packages of Debian, as cloud-init,openssh-server
#   --image-archive   an archive for `docker load`; hosts load it before the agent starts
#   --root-only       no disk: just the archive of the root
#   OUT               a directory; target/image without it
#
# In OUT then lie holdfast.tar (the root), holdfast.raw and holdfast.qcow2 (the disk, which boots from
# BIOS and from UEFI), and holdfast.vmlinuz and .initrd (for booting without firmware). The disk is never
# mounted, so neither loop devices nor its file systems are asked of the kernel. The same package,
# commit and state of Debian give the same root, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=bookworm
mirror=${HOLDFAST_IMAGE_MIRROR:-http://deb.debian.org/debian}
security=${HOLDFAST_IMAGE_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
target_dir=${CARGO_TARGET_DIR:-target}
disk_mib=1536
esp_mib=64
# On the kernel's command line. EC2 shows what goes to the serial console.
kernel_arguments="root=LABEL=root ro console=tty0 console=ttyS0,115200"

die() {
    echo "bake: $*" >&2
    exit 1
}
say() { echo "bake: $SECONDS s: $*" >&2; }

deb='' include='' archives=() root_only='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --deb) deb=$2 && shift 2 ;;
    --include) include=$2 && shift 2 ;;
    --image-archive) archives+=("$2") && shift 2 ;;
    --root-only) root_only=1 && shift ;;
    -*) sed -n '2,/^set /s/^# \?//p' "$0" >&2 && exit 64 ;;
    *) out=$1 && shift ;;
    esac
done
out=${out:-$target_dir/image}
if [ "$(id -u)" != 0 ]; then die "the root of the image is made as root: run me as root"; fi
for tool in mmdebstrap mke2fs sfdisk mkfs.vfat mcopy syslinux objcopy qemu-img; do
    command -v "$tool" >/dev/null || die "$tool is missing: packaging/prerequisites.sh image installs it"
done
mkdir -p "$out"

# A root, and a copy of it: in memory where there is room.
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ]; then
    export TMPDIR=/dev/shm
fi
work=$(mktemp -d --tmpdir holdfast-bake.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

if [ -z "$deb" ]; then
    packaging/package.sh "$work/package" >&2
    deb=$(find "$work/package" -name 'holdfast_*_amd64.deb')
    [ -n "$deb" ] || die "packaging/package.sh made no .deb: what it needs is installed by packaging/prerequisites.sh packages"
fi

# --- the root -------------------------------------------------------------------------------------

# What a machine needs to boot and to have a network. What makes a Holdfast host of it is provision.sh's,
# and is fetched here, since the root that it runs in reaches no network.
base=systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,dbus,udev,kmod,zstd,iproute2,e2fsprogs
base=$base,linux-image-cloud-amd64,initramfs-tools,$(ami/provision.sh --packages | tr ' ' ,)

mkdir -p "$work/overlay"
cp -a ami/base/. "$work/overlay"
chown -R root:root "$work/overlay"
mkdir -p "$work/overlay/tmp/provision"
cp "$deb" "$work/overlay/tmp/provision/holdfast.deb"
cp ami/provision.sh "$work/overlay/tmp/provision/"
for archive in "${archives[@]}"; do
    install -D -m 644 -t "$work/overlay/usr/share/holdfast/images" "$archive"
done

bake_root() {
    # The date of the files: the one of the last commit, if there is one.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
    export SOURCE_DATE_EPOCH
    # 1. The modules that disks, file system and network of virtual machines and EC2 need, and no others:
    #    a third of the size, and of the time to unpack it.
    # 2. What the packages would ask for is in the base; recommendations are not wanted.
    # 3. The overlay goes in before provisioning, which then has the last word.
    # shellcheck disable=SC2016 # mmdebstrap's shell expands $1, the root
    mmdebstrap --quiet --variant=minbase --mode=root --include="$base${include:+,$include}" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/i18n/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --essential-hook='echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/bake"' \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
        --essential-hook='printf "MODULES=list\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/image"' \
        --essential-hook='printf "%s\n" virtio_blk virtio_pci virtio_scsi sd_mod nvme xen-blkfront ena ext4 \
            >>"$1/etc/initramfs-tools/modules"' \
        --customize-hook="sync-in $work/overlay /" \
        --customize-hook='chroot "$1" systemctl enable systemd-networkd systemd-resolved \
            holdfast-hostname holdfast-images' \
        --customize-hook='chroot "$1" /tmp/provision/provision.sh /tmp/provision/holdfast.deb' \
        --customize-hook='rm -r "$1/tmp/provision" "$1/etc/dpkg/dpkg.cfg.d/bake"' \
        --customize-hook='rm -f "$1"/boot/*.old "$1"/*.old' \
        --customize-hook='ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"' \
        "$suite" "$work/holdfast.tar" \
        "deb $mirror $suite main" "deb $mirror $suite-updates main" \
        "deb $security $suite-security main" >&2
}

# --- the disk -------------------------------------------------------------------------------------

bake_disk() {
    local root=$work/root kernel initrd
    mkdir "$root"
    tar -C "$root" -xpf "$work/holdfast.tar"
    kernel=$(find "$root/boot" -name 'vmlinuz-*')
    initrd=$root/boot/initrd.img-${kernel##*/vmlinuz-}
    cp "$kernel" "$work/holdfast.vmlinuz"
    cp "$initrd" "$work/holdfast.initrd"

    # UEFI starts one file: systemd's stub with kernel, initrd and command line in it.
    printf %s "$kernel_arguments" >"$work/arguments"
    objcopy --add-section .osrel="$root/usr/lib/os-release" --change-section-vma .osrel=0x20000 \
        --add-section .cmdline="$work/arguments" --change-section-vma .cmdline=0x30000 \
        --add-section .linux="$kernel" --change-section-vma .linux=0x2000000 \
        --add-section .initrd="$initrd" --change-section-vma .initrd=0x3000000 \
        /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$work/uki.efi"

    # BIOS starts syslinux, from the same partition.
    truncate -s ${esp_mib}M "$work/esp"
    mkfs.vfat -F 32 -n ESP "$work/esp" >/dev/null
    mmd -i "$work/esp" ::EFI ::EFI/BOOT ::syslinux
    mcopy -i "$work/esp" "$work/uki.efi" ::EFI/BOOT/BOOTX64.EFI
    mcopy -i "$work/esp" "$work/holdfast.vmlinuz" ::vmlinuz
    mcopy -i "$work/esp" "$work/holdfast.initrd" ::initrd
    cat >"$work/syslinux.cfg" <<EOF
SERIAL 0 115200
DEFAULT holdfast
TIMEOUT 1
LABEL holdfast
    LINUX /vmlinuz
    INITRD /initrd
    APPEND $kernel_arguments
EOF
    mcopy -i "$work/esp" "$work/syslinux.cfg" ::syslinux/syslinux.cfg
    syslinux --install --directory syslinux "$work/esp"

    # The types are those of the Discoverable Partitions Specification; the root is the last, and grows.
    truncate -s ${disk_mib}M "$work/disk"
    sfdisk --quiet "$work/disk" <<EOF
label: gpt
start=1MiB, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp, attrs=LegacyBIOSBootable
start=$((1 + esp_mib))MiB, size=$((disk_mib - esp_mib - 2))MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
EOF
    dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$work/disk" bs=440 count=1 conv=notrunc status=none
    dd if="$work/esp" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
    mke2fs -q -t ext4 -L root -m 1 -d "$root" -F \
        -E "offset=$(((1 + esp_mib) * 1048576)),lazy_itable_init=0" \
        "$work/disk" $(((disk_mib - esp_mib - 2) * 1024))k
    rm -rf --one-file-system "$root"
    qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$work/disk" "$work/holdfast.qcow2"
}

bake_root
say "root: $(du -m "$work/holdfast.tar" | cut -f1) MiB"
if [ -z "$root_only" ]; then
    bake_disk
    cp --sparse=always "$work/disk" "$out/holdfast.raw"
    cp "$work"/holdfast.{vmlinuz,initrd,qcow2} "$out"
fi
cp "$work/holdfast.tar" "$out"
say "done"
du -m "$out"/holdfast.* >&2
