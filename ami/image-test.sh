#!/usr/bin/env bash
# Boots two hosts from one machine image, in an emulator, and shows that they are a cluster.
#
#   ami/image-test.sh [DIRECTORY]   where bake.sh put the image; without it, one is baked for the test
#
# Each check is a line, with the seconds since the beginning. What it may use is what every machine
# has: no /dev/kvm, no network of the host, no Docker. Each guest has a disk that holds what it wrote
# beside the image, a network card whose wire leads to the other guest, and its seed configuration.
# They have no way in, as they should; a kernel argument of this test puts a shell of root on their
# second serial port. When it ends, however it ends, nothing is left of it.
set -euo pipefail
cd "$(dirname "$0")/.."

# Where Holdfast's program does not see a host for so long, the test's machine may be the reason.
down_after_ms=5000
# For one check. The slowest is a boot: three to four minutes on two cores that others use, too.
patience_s=${HOLDFAST_IMAGE_TEST_PATIENCE_S:-600}

image=${1-}
if [ -d /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 3000000 ]; then
    export TMPDIR=/dev/shm
fi
work=$(mktemp -d --tmpdir holdfast-image-test.XXXXXX)
declare -A pids=()
passed=0

die() {
    echo "image-test: $*" >&2
    exit 1
}

# shellcheck disable=SC2317 # the trap calls it
at_exit() {
    local status=$? name
    for name in "${!pids[@]}"; do end "$name"; done
    if [ "$status" != 0 ]; then
        for name in "$work"/*.console; do
            if [ ! -e "$name" ]; then continue; fi
            echo "--- the last that $(basename "$name" .console) said on its console:"
            tail -n 40 "$name" | tr -d '\r'
        done
        for name in "$work"/*.qemu; do cat "$name" 2>/dev/null || true; done
    fi
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT TERM

# --- guests ---------------------------------------------------------------------------------------

# start NAME ARGUMENT…: an emulated machine; its console's output is kept, and its monitor listens.
start() {
    local name=$1
    shift
    # Never with KVM: where its device is there, it may still not run this kernel.
    qemu-system-x86_64 -name "$name" -accel tcg -cpu max -M q35 -smp 1 -m 1024 \
        -nodefaults -no-user-config -display none -no-reboot \
        -serial "file:$work/$name.console" -monitor "unix:$work/$name.monitor,server=on,wait=off" \
        -drive "if=none,id=disk,file=$work/$name.qcow2,format=qcow2" \
        -device virtio-blk-pci,drive=disk -device virtio-rng-pci "$@" \
        >"$work/$name.qemu" 2>&1 </dev/null &
    pids[$name]=$!
}

new_disk() {
    # Larger than the image, as disks are: the root file system is to fill it.
    qemu-img create -q -f qcow2 -F raw -b "$(realpath "$image/holdfast.raw")" "$work/$1.qcow2" 4G
}

# plug MINE THEIRS: sets `card`, a network card at one of the two ends of the wire.
plug() {
    local ends="local.type=unix,local.path=$work/end-$1,remote.type=unix,remote.path=$work/end-$2"
    rm -f "$work/end-$1"
    card=(-netdev "dgram,id=wire,$ends" -device "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0$1")
}

# seed NAME: sets `by_smbios` and `by_fw_cfg`, the two ways that QEMU has to pass a host its settings.
seed() {
    local of_systemd=io.systemd.credential.binary
    cat >"$work/$1.toml" <<EOF
cluster = "image-test"
name = "$1"
peers = ["10.0.0.1", "10.0.0.2"]
down_after_ms = $down_after_ms
EOF
    by_smbios=(
        -smbios "type=11,value=$of_systemd:holdfast.toml=$(base64 -w0 "$work/$1.toml")"
        -smbios "type=11,value=$of_systemd:holdfast.key=$(base64 -w0 "$work/key")"
    )
    by_fw_cfg=(
        -fw_cfg "name=opt/io.systemd.credentials/holdfast.toml,file=$work/$1.toml"
        -fw_cfg "name=opt/io.systemd.credentials/holdfast.key,file=$work/key"
    )
}

# boot NAME ADDRESS ARGUMENT…: without firmware, and with a shell on the second serial port.
boot() {
    local name=$1 address=$2
    shift 2
    start "$name" -serial "unix:$work/$name.shell,server=on,wait=off" \
        -kernel "$image/holdfast.vmlinuz" -initrd "$image/holdfast.initrd" \
        -append "root=LABEL=root ro console=ttyS0 net.ifnames=0 ip=$address:::255.255.255.0::eth0:none systemd.debug_shell=ttyS1" \
        "$@"
}
boot_alpha() {
    seed alpha
    plug 1 2
    boot alpha 10.0.0.1 "${card[@]}" "${by_smbios[@]}"
}
boot_beta() {
    seed beta
    plug 2 1
    boot beta 10.0.0.2 "${card[@]}" "${by_fw_cfg[@]}"
}

# boot_by FIRMWARE ARGUMENT…: a new host, as the image boots elsewhere. Nobody looks into it.
boot_by() {
    new_disk "$1"
    seed "$1"
    plug 2 1
    start "$1" "${card[@]}" "${by_smbios[@]}" "${@:2}"
}

# Pulls the plug. One that has ended by itself is no child any more: its number may be somebody else's.
end() {
    local pid=${pids[$1]}
    unset "pids[$1]"
    if jobs -rp | grep -qx "$pid"; then kill -KILL "$pid"; fi
    wait "$pid" 2>/dev/null || true
}

runs() { kill -0 "${pids[$1]}" 2>/dev/null; }

# in_guest NAME COMMAND: what it prints; its status.
in_guest() {
    local name=$1 mark=$RANDOM$RANDOM line inside='' status=1
    # The shell of the debug service is for people: it edits lines, prompts and echoes. Another one
    # takes its place. The marks are quoted, so that an echo of them is not one.
    coproc socat - "UNIX-CONNECT:$work/$name.shell" 2>/dev/null
    # shellcheck disable=SC2154 # coproc sets it
    local pid=$COPROC_PID from=${COPROC[0]} to=${COPROC[1]}
    printf '%s\n' "exec env PS1= PS2= TERM=dumb sh" "stty -echo" "echo '<''$mark'" \
        "{ $2" "} 2>&1 </dev/null; status=\$?; echo; echo '>''$mark' \$status" >&"$to"
    while read -r -t 30 line <&"$from"; do
        line=${line%$'\r'}
        case $line in
        *"<$mark") inside=1 ;;
        *">$mark "*) status=${line##* } && break ;;
        ?*) if [ -n "$inside" ]; then printf '%s\n' "$line"; fi ;;
        esac
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return "$status"
}

# --- checks ---------------------------------------------------------------------------------------

# check WHAT COMMAND…: tries until it succeeds. Its last output is shown where it never does.
check() {
    local what=$1 until=$((SECONDS + patience_s)) said
    shift
    until said=$("$@" 2>&1); do
        if [ "$SECONDS" -ge "$until" ]; then
            printf 'FAILED  %4d s  %s\n' "$SECONDS" "$what"
            echo "$said"
            exit 1
        fi
        sleep 0.5
    done
    passed=$((passed + 1))
    printf 'ok      %4d s  %s%s\n' "$SECONDS" "$what" "${said:+: ${said//$'\n'/, }}"
}

# hosts_up NAME WHICH: that it lists these hosts as UP.
hosts_up() {
    [ "$(in_guest "$1" 'holdfast host ls' | awk '/ UP / { print $2 }' | sort | tr '\n' ' ')" = "$2" ]
}
# It lists itself, whoever else is there.
registers() { in_guest "$1" 'holdfast host ls' | grep " $1 \* .* UP " >/dev/null; }

# running NAME: which hosts the running tasks are on, as this guest sees it. Of a host that is down it
# lists what ran there, and says so.
running() {
    in_guest "$1" 'holdfast task ls' | awk '/ RUNNING / && !/host down/ { print $4 }' | sort | tr '\n' ' '
}
runs_on() { [ "$(running "$1")" = "$2" ]; }

introspected() {
    in_guest "$1" "bash -c 'exec 3<>/dev/tcp/127.0.0.1/51678
        printf \"GET /v1/hosts HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n\" >&3; head -n 1 <&3'" |
        grep -o 'HTTP/1.[01] 200 OK'
}
is_refused() {
    { in_guest "$1" "timeout 5 bash -c 'exec 3<>/dev/tcp/$2/51678'" || true; } | grep refused >/dev/null
}
# Three lines.
identity() {
    in_guest "$1" 'cat /etc/machine-id; sed -n "s/^host = //p" /var/lib/holdfast/host-id; cat /etc/hostname'
}
all_well() {
    local state
    state=$(in_guest "$1" 'systemctl is-system-running' || true)
    in_guest "$1" 'systemctl --failed --plain --no-legend'
    [[ $state = running* ]]
}
root_fills_disk() { [ "$(in_guest "$1" 'df --output=size -m / | tail -n 1')" -gt 3700 ]; }
differ() { [ -n "$1" ] && [ -n "$2" ] && [ "$1" != "$2" ] && echo "$1, $2"; }
is_host() {
    local name=$1 found
    mapfile -t found < <(identity "$name")
    [ "${found[*]}" = "${*:2}" ] && echo "${found[*]}"
}
# Two in all, wherever: what beta ran is replaced, and stays so.
runs_exactly_two() { [ "$(running "$1" | wc -w)" = 2 ]; }
power_button() { echo system_powerdown | socat - "UNIX-CONNECT:$work/$1.monitor" >/dev/null; }
has_ended() { ! runs "$1"; }
serves_addresses() {
    local file=/run/systemd/network/10-wire.network
    in_guest alpha "printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.0.1/24\nDHCPServer=yes\n' >$file &&
        networkctl reload"
}

# --------------------------------------------------------------------------------------------------

if [ -z "$image" ]; then
    image=${CARGO_TARGET_DIR:-target}/image-test
    ami/bake.sh --image-archive "$(tests/e2e/make-image.sh --archive-only)" "$image"
    echo "baked in $SECONDS s"
fi
for tool in qemu-system-x86_64 qemu-img socat; do
    command -v "$tool" >/dev/null || die "$tool is missing: packaging/prerequisites.sh image installs it"
done

# The image's own program makes the key.
tar -xOf "$image/holdfast.tar" ./usr/bin/holdfast >"$work/holdfast"
chmod 755 "$work/holdfast"
"$work/holdfast" key new >"$work/key"
new_disk alpha
new_disk beta

boot_alpha
boot_beta
check "alpha registers" registers alpha
check "beta registers" registers beta
check "alpha has found beta" hosts_up alpha "alpha beta "
check "beta has found alpha" hosts_up beta "alpha beta "
for name in alpha beta; do
    check "$name booted without a complaint" all_well "$name"
    check "the root of $name fills its disk" root_fills_disk "$name"
    check "introspection answers on the loopback of $name" introspected "$name"
done
check "introspection of beta does not answer alpha" is_refused alpha 10.0.0.2

# Two hosts of one image have nothing in common that is to be one's own.
mapfile -t alpha < <(identity alpha)
mapfile -t beta < <(identity beta)
check "machine-id of alpha and of beta differ" differ "${alpha[0]}" "${beta[0]}"
check "host id of alpha and of beta differ" differ "${alpha[1]}" "${beta[1]}"
check "host name of alpha and of beta differ" differ "${alpha[2]}" "${beta[2]}"

# The workload's image came with the machine image; nothing could pull it.
definition='{"family": "web", "containerDefinitions": [{"name": "web", "image": "holdfast-workload:latest", "memory": 32}]}'
check "a task definition is registered" in_guest alpha \
    "echo '$definition' | holdfast task-definition register -"
check "a service of two is created" in_guest alpha \
    "holdfast service create web --task-definition web --count 2"
check "one of its tasks runs on each" runs_on beta "alpha beta "

end beta
check "beta lost its power; alpha runs both" runs_on alpha "alpha alpha "

boot_beta
check "beta is back" hosts_up alpha "alpha beta "
check "it is who it was" is_host beta "${beta[@]}"
check "the count is exact" runs_exactly_two alpha
# What is started last is what moves its tasks away when it is to shut down.
check "beta booted anew without a complaint" all_well beta

# Shutting down in order is not being lost: the host leaves first, and says so.
check "beta is told to shut down" power_button beta
check "beta has switched itself off" has_ended beta
check "it had left the cluster before" in_guest alpha "holdfast host ls | grep -o LEFT"
check "alpha runs both" runs_on alpha "alpha alpha "

# With its firmware, as the image boots elsewhere; until now the emulator started the kernel. These
# hosts are told no address: alpha gives them one.
check "alpha hands out addresses" serves_addresses
boot_by bios
check "booted by its BIOS, a third host is found by alpha" hosts_up alpha "alpha bios "
end bios
check "it lost its power" hosts_up alpha "alpha "
boot_by uefi -drive "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd"
check "booted by UEFI, a fourth one is, too" hosts_up alpha "alpha uefi "
end uefi

check "alpha is told to shut down" power_button alpha
check "alpha has switched itself off" has_ended alpha
echo "image-test: $passed checks passed in $SECONDS s"
