#!/bin/sh
# Makes a Holdfast host of the Debian that it runs in: the last thing done before that becomes an image.
#
#   provision.sh HOLDFAST.deb       as root, in the root to be: ami/bake.sh and the Packer template do
#   provision.sh --packages         which packages of Debian it wants
#
# No service is started, so that nothing here has an identity yet; what the base brought of one is
# removed. An image in which something is left that hosts may not share is refused.
set -eu

# apparmor: without its parser docker.io starts no container where the kernel has AppArmor.
# procps: docker.service reloads by its kill.
packages='docker.io apparmor iptables ca-certificates procps'
if [ "$1" = --packages ]; then
    echo "$packages"
    exit
fi
deb=$(realpath "$1")
export DEBIAN_FRONTEND=noninteractive

# A machine that runs: Packer's, which stops it when we are done. The baked root does not run.
runs() { [ -d /run/systemd/system ]; }

install_packages() {
    # Packages ask this program whether they may start what they bring: 101 is no.
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then policy=; fi
    if [ -n "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # The baked root has no network: the packages are there already, and apt finds them in place.
    if runs; then apt-get -qq -o DPkg::Lock::Timeout=300 update; fi
    # shellcheck disable=SC2086 # a list of package names, to be split
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install -y --no-install-recommends \
        $packages "$deb"
    if [ -n "$policy" ]; then rm "$policy"; fi
}

configure() {
    # The tasks go on while dockerd is restarted or upgraded; the agent adopts them.
    if [ ! -e /etc/docker/daemon.json ]; then
        mkdir -p /etc/docker
        echo '{"live-restore": true}' >/etc/docker/daemon.json
    fi
    # holdfast-leave: hosts of an image come and go, and their tasks move before they are gone.
    systemctl enable docker.service containerd.service holdfast.service holdfast-leave.service
    # Host keys are removed below. sshd does not start without any, and not each base makes new ones.
    if [ -e /lib/systemd/system/ssh.service ]; then
        mkdir -p /etc/systemd/system/ssh.service.d
        cat >/etc/systemd/system/ssh.service.d/holdfast-image.conf <<EOF
# An image has no host keys: each host makes its own before its first sshd.
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
EOF
    fi
}

# What must not be the same on two hosts, and what tells of the machine that the image was made on; but
# for what sealing removes.
forget() {
    if runs; then
        # They would write what is removed here once more when the machine stops.
        systemctl stop docker.socket docker.service containerd.service holdfast.socket holdfast.service \
            systemd-random-seed.service 2>/dev/null || true
        journalctl --relinquish-var
    fi
    if command -v cloud-init >/dev/null; then cloud-init clean --logs --seed; fi
    rm -f /etc/hostname /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
    rm -f /root/.bash_history /home/*/.bash_history
    rm -rf /var/lib/dhcp/* /var/lib/NetworkManager/* /run/systemd/netif/leases/*
    rm -rf /var/lib/docker /var/lib/containerd
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old
    find /var/log -type f -delete
    rm -rf /var/log/journal/* /var/tmp/*
}

seal() {
    # The machine's ids and seeds and Holdfast's state go. It fails, and with it the image, if hosts would
    # share a key.
    holdfast image seal --root /
}

install_packages
configure
forget
seal
