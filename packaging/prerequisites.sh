#!/usr/bin/env bash
# Installs what building and testing Holdfast needs and this machine lacks, and finds a Docker Engine.
#
#   packaging/prerequisites.sh                    tools, then the engine of DOCKER_HOST or /run/docker.sock
#   packaging/prerequisites.sh --private-docker   tools, then a private dockerd, whatever else runs
#   packaging/prerequisites.sh lab                tools, and what the multi-host lab needs beside them
#   packaging/prerequisites.sh bench              the same, and what the benchmark compares with
#   packaging/prerequisites.sh ecs-clients        ECS's own clients and those of its metadata endpoint, for the tests
#   packaging/prerequisites.sh image              tools, and what baking and booting the machine image needs
#   packaging/prerequisites.sh packages           tools, and what makes and checks the packages
#   packaging/prerequisites.sh test-packages      the same without what takes long to build: .rpm and SBOM
#   packaging/prerequisites.sh podman             Podman, and a service of it that speaks Docker's API
#   packaging/prerequisites.sh stop-podman        stops that service and removes all of it
#   packaging/prerequisites.sh stop               stops the private dockerd, too, and removes all of it
#
# What is told goes to stderr. Stdout is for the caller's shell:
#
#   eval "$(packaging/prerequisites.sh)"          sets DOCKER_HOST
#
# The private dockerd lives in ${HOLDFAST_PRIVATE_DOCKER:-/tmp/holdfast-docker}, with its own
# containerd, bridge and subnet. It leaves the host's firewall and sysctls alone; the price is that
# its containers reach the host and one another, but not the outside. (Pulling images still works:
# the engine does that, not a container.)
#
# The clients are Python's, in a venv at ${HOLDFAST_ECS_CLIENTS:-/tmp/holdfast-ecs-clients}; stdout is
# then the path of its Python.
#
# The Podman service lives in ${HOLDFAST_PRIVATE_PODMAN:-/tmp/holdfast-podman}, with its own storage,
# bridge and subnet. It makes rules in the host's firewall for the ports of its containers; when it
# is stopped, the empty chains of its network plugins stay.
set -euo pipefail

private=${HOLDFAST_PRIVATE_DOCKER:-/tmp/holdfast-docker}
private_socket=$private/docker.sock
mark=$private/.made-by-holdfast
bridge=holdfast0
podman=${HOLDFAST_PRIVATE_PODMAN:-/tmp/holdfast-podman}
podman_socket=$podman/podman.sock
podman_mark=$podman/.made-by-holdfast
podman_bridge=holdfast1
# Of what is being started or stopped: its directory, and what undoes it.
home=$private
undo=stop_private

say() { echo "prerequisites: $*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
# sbin is not on everyone's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "needs root for: $*; run as root or install sudo"
    fi
}

# --- tools ------------------------------------------------------------------------------------

missing_packages() {
    have cc || echo gcc libc6-dev
    have make || echo make
    have pkg-config || echo pkg-config
    have pkg-config && pkg-config --exists libsystemd || echo libsystemd-dev
    have shellcheck || echo shellcheck
    have systemd-analyze || echo systemd
    have tar || echo tar
    have ip || echo iproute2
    have nft || echo nftables
    have pgrep || echo procps
    # For the certificate of the tests.
    have openssl || echo openssl
    # What the tests pull images from.
    have docker-registry || echo docker-registry
}

# The lab runs engines of its own: it needs the programs, and no engine that answers.
missing_lab_packages() {
    if ! have dockerd || ! have containerd || ! have runc; then echo docker.io; fi
    have iptables || echo iptables
    have tini || have docker-init || echo tini
    have unshare || echo util-linux
    # For hosts whose clock is wrong, which one machine has only one of.
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || echo libfaketime
}

# The bench compares with them. Where one cannot be had, its rows are missing, and nothing else.
install_rivals() {
    have serf || (install_packages serf) || say "SKIPPED: serf: the bench has no rows of it"
    have dnsmasq || (install_packages dnsmasq-base) || say "SKIPPED: dnsmasq: the bench has no rows of it"
}

# The clients that tests of discovery ask with. Without one its test says SKIPPED.
install_clients() {
    local missing=()
    have dig || missing+=(bind9-dnsutils)
    have haproxy || missing+=(haproxy)
    have prometheus || missing+=(prometheus)
    /usr/bin/python3 -c 'import dns.resolver' 2>/dev/null || missing+=(python3-dnspython)
    if [ "${#missing[@]}" = 0 ]; then return; fi
    (install_packages "${missing[@]}") || say "SKIPPED: ${missing[*]}: their tests of discovery"
}

# Baking: mmdebstrap makes the root, the others a disk that boots, without mounting anything.
# Booting: an emulator, and the firmware of both kinds.
missing_image_packages() {
    have mmdebstrap || echo mmdebstrap
    have mke2fs || echo e2fsprogs
    have sfdisk || echo fdisk
    have mkfs.vfat || echo dosfstools
    have mcopy || echo mtools
    have syslinux || echo syslinux
    [ -e /usr/lib/syslinux/mbr/gptmbr.bin ] || echo syslinux-common
    [ -e /usr/lib/systemd/boot/efi/linuxx64.efi.stub ] || echo systemd-boot-efi
    have objcopy || echo binutils
    have qemu-img || echo qemu-utils
    have qemu-system-x86_64 || echo qemu-system-x86
    [ -e /usr/share/OVMF/OVMF_CODE.fd ] || echo ovmf
    have socat || echo socat
    # The template of the machine image is checked by it.
    have packer || echo packer
}

# Checking: Debian's own checks, and a root of its own to install into, which boots.
missing_packaging_packages() {
    have lintian || echo lintian
    have rpm || echo rpm
    have mmdebstrap || echo mmdebstrap
    have systemd-nspawn || echo systemd-container
    have objdump || echo binutils
    # It finds out which packages the program's libraries are in.
    have dpkg-shlibdeps || echo dpkg-dev
}

# They are built anew on each machine, in minutes, so only those that are missing.
install_cargo_tools() {
    local tool
    for tool in "$@"; do
        if cargo "${tool#cargo-}" --version >/dev/null 2>&1; then continue; fi
        say "building $tool, which takes minutes"
        # Not among what is built of this tree.
        env --unset=CARGO_TARGET_DIR cargo install --quiet --locked "$tool" >&2 ||
            die "cannot install $tool"
    done
}

install_packages() {
    if ! have apt-get; then
        die "not a Debian or Ubuntu: please install what these packages hold, then run me again: $*"
    fi
    say "installing: $*"
    # Another apt may be at work: it is waited for.
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
        -o DPkg::Lock::Timeout=300)
    # The package lists may be old or absent: they are fetched only if the first attempt fails.
    as_root "${quiet[@]}" install -y --no-install-recommends "$@" >&2 ||
        {
            as_root "${quiet[@]}" update >&2
            as_root "${quiet[@]}" install -y --no-install-recommends "$@" >&2
        } || die "cannot install: $*"
}

# tools COMMAND: installs what is missing, also what COMMAND prints.
tools() {
    local missing
    missing=$({ missing_packages && "$@"; } | tr '\n' ' ')
    # shellcheck disable=SC2086 # a list of package names, to be split
    if [ -n "${missing// /}" ]; then install_packages $missing; fi
    if ! have cargo; then
        say "cargo is missing. Install Rust 1.90 or newer, then run me again:"
        say "  rustup (https://rustup.rs): rustup toolchain install stable"
        die "  or a distribution that is new enough: apt-get install cargo rustfmt rust-clippy"
    fi
    say "tools: all here"
}

# --- public clients -----------------------------------------------------------------------------

# Versions that are known to work, so that a test fails for what we changed and not for what they did.
ecs_clients() {
    local venv=${HOLDFAST_ECS_CLIENTS:-/tmp/holdfast-ecs-clients}
    if ! "$venv/bin/python" -c 'import awscli, boto3, newrelic, opentelemetry.sdk.extension.aws' 2>/dev/null; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            awscli==1.46.3 boto3==1.44.5 opentelemetry-sdk-extension-aws==2.1.0 newrelic==14.1.0 >&2 ||
            die "cannot get the clients from PyPI"
    fi
    say "public clients of ECS: in $venv"
    echo "$venv/bin/python"
}

# --- a Docker Engine ----------------------------------------------------------------------------

engine_version() { timeout 10 docker -H "$1" version --format '{{.Server.Version}}' 2>/dev/null; }

use_engine() {
    local host=$1 version
    have docker || return 1
    version=$(engine_version "$host") || return 1
    say "Docker Engine $version answers on $host"
    echo "export DOCKER_HOST=$host"
}

install_docker() {
    local package=docker.io
    # Newer Debians keep the command line in a package of its own.
    if have dockerd && have apt-cache && apt-cache show docker-cli >/dev/null 2>&1; then
        package=docker-cli
    fi
    install_packages "$package"
}

# A subnet of 10.200.0.0/13 that no route of this host names.
free_subnet() {
    local routes second
    routes=$(ip -4 route show table all)
    for second in 207 206 205 204 203 202 201 200; do
        if ! grep -qE "(^|[[:space:]])10\.$second\." <<<"$routes"; then
            echo "10.$second"
            return
        fi
    done
    die "no free subnet for the private Docker Engine in 10.200.0.0/13"
}

start_private() {
    if use_engine "unix://$private_socket"; then return; fi
    if ! have dockerd || ! have containerd; then install_docker; fi
    if [ -e "$private" ] && [ ! -e "$mark" ]; then
        die "$private exists and is not ours: move it, or set HOLDFAST_PRIVATE_DOCKER"
    fi
    stop_private # what a crash or a reboot may have left

    local subnet
    subnet=$(free_subnet)
    say "starting a private Docker Engine in $private, bridge $bridge, $subnet.0.0/16"
    as_root mkdir -p -m 0711 "$private"
    as_root tee "$mark" >/dev/null <<<"$subnet"
    as_root ip link add "$bridge" type bridge
    as_root ip addr add "$subnet.0.1/24" dev "$bridge"
    as_root ip link set "$bridge" up

    # Its own containerd: a shared one would keep images and snapshots of ours after we are gone.
    as_root tee "$private/containerd.toml" >/dev/null <<EOF
version = 2
root = "$private/containerd"
state = "$private/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$private/containerd.sock"
EOF
    launch containerd --config "$private/containerd.toml"
    wait_for containerd test -S "$private/containerd.sock"
    # 1. iptables, ip-masq and ip-forward are off: the host's rules and sysctls stay as they are.
    #    Published ports go through Docker's userland proxy.
    # 2. An empty config file: /etc/docker/daemon.json belongs to the host's own engine.
    as_root tee "$private/daemon.json" >/dev/null <<<'{}'
    launch dockerd --config-file "$private/daemon.json" \
        --data-root "$private/data" --exec-root "$private/exec" \
        --pidfile "$private/docker.pid" --host "unix://$private_socket" --group "$(id -gn)" \
        --containerd "$private/containerd.sock" \
        --bridge "$bridge" --default-address-pool "base=$subnet.128.0/17,size=24" \
        --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false
    wait_for dockerd engine_version "unix://$private_socket"
    use_engine "unix://$private_socket" || die "the private Docker Engine stopped answering"
}

# launch PROGRAM ARGUMENT...: in the background, outliving this shell, its pid and log kept.
launch() {
    # In its directory, as Podman writes a file to where it stands when a container's memory ran out.
    # shellcheck disable=SC2016 # expanded by the inner shell, as root
    as_root sh -c 'dir=$1; name=$2; shift; cd "$dir" || exit
        setsid "$@" >"$dir/$name.log" 2>&1 </dev/null & echo $! >"$dir/$name.launched"' \
        launch "$home" "$@"
}

# wait_for NAME CHECK...: until the check succeeds, at most 30 s, or until what was launched ends.
wait_for() {
    local name=$1 tries
    shift
    for ((tries = 0; tries < 150; tries++)); do
        if "$@" >/dev/null; then return; fi
        if ! as_root test -d "/proc/$(as_root cat "$home/$name.launched")"; then break; fi
        sleep 0.2
    done
    as_root tail -n 20 "$home/$name.log" >&2
    "$undo"
    die "$name did not come up: its last words are above"
}

# --- Podman -----------------------------------------------------------------------------------------

missing_podman_packages() {
    have podman || echo podman
    have runc || echo runc
    have iptables || echo iptables
    # The hand from outside, which makes the tests' image.
    have docker || echo docker.io
}

start_podman() {
    # Its settings come by the environment, which sudo drops.
    if [ "$(id -u)" != 0 ]; then die "the Podman service needs root: run me as root"; fi
    if use_engine "unix://$podman_socket"; then return; fi
    if [ -e "$podman" ] && [ ! -e "$podman_mark" ]; then
        die "$podman exists and is not ours: move it, or set HOLDFAST_PRIVATE_PODMAN"
    fi
    stop_podman
    home=$podman undo=stop_podman

    local subnet
    subnet=$(free_subnet)
    say "starting Podman's service in $podman, bridge $podman_bridge, $subnet.0.0/16"
    as_root mkdir -p -m 0711 "$podman/networks"
    as_root tee "$podman_mark" >/dev/null <<<"$subnet"
    # 1. Without systemd there are neither its cgroups nor its journal.
    # 2. Podman's own limits of a container are the highest there are, which not every root may set.
    # 3. A file of events that is cut at its limit may end the stream of whoever follows it.
    as_root tee "$podman/containers.conf" >/dev/null <<EOF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
events_logfile_max_size = "100m"
runtime = "runc"
[network]
default_network = "holdfast"
network_config_dir = "$podman/networks"
EOF
    as_root tee "$podman/storage.conf" >/dev/null <<EOF
[storage]
driver = "vfs"
graphroot = "$podman/data"
runroot = "$podman/run"
EOF
    as_root tee "$podman/networks/holdfast.conflist" >/dev/null <<EOF
{"cniVersion": "0.4.0", "name": "holdfast", "plugins": [
    {"type": "bridge", "bridge": "$podman_bridge", "isGateway": true, "ipMasq": true,
     "hairpinMode": true, "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
     "ranges": [[{"subnet": "$subnet.0.0/16", "gateway": "$subnet.0.1"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "firewall"}, {"type": "tuning"}]}
EOF
    # As Docker has it: a registry on this machine needs no TLS.
    as_root tee "$podman/registries.conf" >/dev/null <<EOF
[[registry]]
location = "127.0.0.1"
insecure = true
[[registry]]
location = "localhost"
insecure = true
EOF
    export CONTAINERS_CONF=$podman/containers.conf CONTAINERS_STORAGE_CONF=$podman/storage.conf
    export CONTAINERS_REGISTRIES_CONF=$podman/registries.conf
    launch podman --tmpdir "$podman/tmp" system service --time=0 "unix://$podman_socket"
    wait_for podman engine_version "unix://$podman_socket"
    use_engine "unix://$podman_socket" || die "Podman's service stopped answering"
}

stop_podman() {
    if [ ! -e "$podman_mark" ]; then return; fi
    local home=$podman ids mount
    if engine_version "unix://$podman_socket" >/dev/null; then
        mapfile -t ids < <(docker -H "unix://$podman_socket" ps --all --quiet)
        if [ "${#ids[@]}" -gt 0 ]; then
            docker -H "unix://$podman_socket" rm --force --volumes "${ids[@]}" >/dev/null
        fi
    fi
    end podman
    # Deepest first.
    while read -r mount; do
        as_root umount -l "$mount" || true
    done < <(awk -v dir="$podman/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    if ip link show "$podman_bridge" >/dev/null 2>&1; then as_root ip link delete "$podman_bridge"; fi
    as_root rm -rf --one-file-system -- "$podman"
    say "Podman's service is gone, and so is $podman"
}

# --- stop -----------------------------------------------------------------------------------------

stop_private() {
    if [ ! -e "$mark" ]; then return; fi
    local ids
    if engine_version "unix://$private_socket" >/dev/null; then
        mapfile -t ids < <(docker -H "unix://$private_socket" ps --all --quiet)
        if [ "${#ids[@]}" -gt 0 ]; then
            docker -H "unix://$private_socket" rm --force --volumes "${ids[@]}" >/dev/null
        fi
        mapfile -t ids < <(docker -H "unix://$private_socket" network ls --quiet --filter type=custom)
        if [ "${#ids[@]}" -gt 0 ]; then
            docker -H "unix://$private_socket" network rm "${ids[@]}" >/dev/null
        fi
    fi
    end dockerd
    end containerd
    # What a dockerd that was killed could not clean up: containers with their shims, and bridges.
    local subnet pid mount link
    subnet=$(cat "$mark")
    for pid in $(pgrep -f -- "-address $private/containerd.sock\$" || true); do
        as_root pkill -KILL -P "$pid" || true
        as_root kill -KILL "$pid" || true
    done
    for link in $(ip -4 -o addr show | awk -v net="$subnet." 'index($4, net) == 1 { print $2 }'); do
        as_root ip link delete "$link"
    done
    # Deepest first.
    while read -r mount; do
        as_root umount -l "$mount" || true
    done < <(awk -v dir="$private/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    # Without an address, if we were interrupted between making it and giving it one.
    if ip link show "$bridge" >/dev/null 2>&1; then as_root ip link delete "$bridge"; fi
    as_root rm -rf --one-file-system -- "$private"
    say "the private Docker Engine is gone, and so is $private"
}

# Ends what `launch NAME` started, and only that: the pid must still belong to a program of that name.
end() {
    local name=$1 pid tries
    pid=$(as_root cat "$home/$name.launched" 2>/dev/null) || return 0
    for ((tries = 0; tries < 100; tries++)); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$name" ]; then return; fi
        if [ "$tries" = 0 ]; then as_root kill "$pid" || true; fi
        sleep 0.2
    done
    say "$name (pid $pid) ignores SIGTERM: killing it"
    as_root kill -KILL "$pid" || true
}

# --------------------------------------------------------------------------------------------------

case ${1-} in
stop)
    if [ ! -e "$mark" ]; then say "no private Docker Engine in $private"; fi
    stop_private
    stop_podman
    ;;
stop-podman)
    stop_podman
    ;;
packages)
    tools missing_packaging_packages
    install_cargo_tools cargo-deb cargo-generate-rpm cargo-cyclonedx
    ;;
test-packages)
    tools missing_packaging_packages
    install_cargo_tools cargo-deb
    ;;
podman)
    tools missing_podman_packages
    start_podman
    ;;
lab)
    tools missing_lab_packages
    ;;
ecs-clients)
    ecs_clients
    ;;
image)
    tools missing_image_packages
    # The emulator takes the place of a qemu-utils of another release: then that is missing now.
    tools missing_image_packages
    ;;
bench)
    tools missing_lab_packages
    install_rivals
    ;;
--private-docker)
    tools :
    start_private
    ;;
'')
    tools :
    install_clients
    host=${DOCKER_HOST:-unix:///run/docker.sock}
    if use_engine "$host"; then exit; fi
    if [ -n "${DOCKER_HOST-}" ]; then
        if ! have docker; then install_docker; fi
        use_engine "$host" || die "no Docker Engine answers on DOCKER_HOST=$DOCKER_HOST: unset it, or start that engine"
        exit
    fi
    # A socket that answers root only is an engine all the same: starting another would surprise.
    if [ -S /run/docker.sock ] && [ ! -w /run/docker.sock ]; then
        die "/run/docker.sock is there but you may not use it: join the group docker, or run me with --private-docker"
    fi
    if ! have docker || ! have dockerd; then install_docker; fi
    # Installing it may have started it.
    if use_engine "$host"; then exit; fi
    start_private
    ;;
*)
    echo "usage: $0 [--private-docker | lab | bench | ecs-clients | image | packages | test-packages |" >&2
    echo "    podman | stop-podman | stop]" >&2
    exit 64
    ;;
esac
