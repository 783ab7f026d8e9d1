#!/usr/bin/env bash
# Makes the packages of the release binary and checks them: what is in them, what Debian's own checks
# say, what the binary needs, and, as root, a whole life of each in a root of its own.
#
#   packaging/test-packages.sh                       the step `packages` of .ci/steps.sh
#   UPDATE_EXPECT=1 packaging/test-packages.sh       writes anew what is expected to be in them
#
# `packaging/prerequisites.sh test-packages` installs the tools, `... packages` also those for the .rpm
# and the SBOM. What one is missing for is SKIPPED, loudly.
#
# The root is made of Debian's packages, once for each release of Debian: it is kept, packed, in
# $CARGO_TARGET_DIR/package-root.
set -euo pipefail
cd "$(dirname "$0")/.."
# sbin is not on everyone's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

target_dir=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
out=$work/out
root=$work/root
expected=packaging/expected
# What the C library of Enterprise Linux 9 and of Amazon Linux 2023 has.
glibc_max=2.34
installed_kib_max=20480

# What the binary needs, in the words of an .rpm.
required=()
# For what is run in the root.
clean=(env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)

ok() { echo "ok: $*"; }
skip() { echo "SKIPPED: $*"; }
fail() {
    echo "FAILED: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
cleanup() {
    if [ -n "${booted-}" ]; then power_off; fi
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# --- what is in them --------------------------------------------------------------------------------

make_twice() {
    packaging/package.sh "$out" 2>"$work/package.log" || { cat "$work/package.log" && return 1; }
    grep 'SKIPPED' "$work/package.log" || true
    packaging/package.sh "$work/again" 2>/dev/null
    diff -r "$out" "$work/again" || fail "made twice, the packages are not the same"
    (cd "$out" && sha256sum --check --quiet SHA256SUMS)
    rm -r "$work/again"
    ok "made twice, the same bytes:"
    (cd "$out" && du --apparent-size --block-size=1KiB -- holdfast*) | sed 's/^\([0-9]*\)\t/   \1 KiB /'
}

# expect NAME: standard input is what it was. The pages of the commands, and the units, are one line:
# there are more of them soon enough. Directories that are not ours alone are left out.
expect() {
    sed -E -e 's#(man1/holdfast-)[a-z-]+(\.1\.gz)#\1COMMAND\2#' \
        -e 's#(/system/)[a-z-]+\.(service|socket) #\1UNIT #' -e '/[^t]\/ d/d' |
        LC_ALL=C sort -u >"$work/$1"
    if [ -n "${UPDATE_EXPECT-}" ]; then cp "$work/$1" "$expected/$1"; fi
    diff --unified "$expected/$1" "$work/$1" || fail "$1: not what $expected/$1 says"
    ok "$1"
}

look_into_deb() {
    dpkg-deb --extract "$deb" "$work/deb"
    dpkg-deb --control "$deb" "$work/control"
    dpkg-deb --contents "$deb" | awk '{ print $6, $1, $2 }' | expect deb.txt
    local unit kib
    for unit in systemd/*.service systemd/*.socket; do
        if [ ! -e "$unit" ]; then continue; fi
        cmp "$unit" "$work/deb/usr/lib/systemd/system/${unit#systemd/}"
        # What others pull in is nobody's to enable.
        if grep -q '^\[Install\]' "$unit" &&
            ! grep -q "deb-systemd-helper .*\b${unit#systemd/}" "$work/control/postinst"; then
            fail "$unit is neither enabled nor not: name it in systemd-units in agent/Cargo.toml"
        fi
    done
    [ "$(cat "$work/control/conffiles")" = /etc/holdfast/holdfast.toml ] || fail "conffiles"
    kib=$(sed -n 's/^Installed-Size: //p' "$work/control/control")
    [ "$kib" -le "$installed_kib_max" ] || fail "it takes $kib KiB of at most $installed_kib_max"
    ok "the .deb has each unit, one conffile, and takes $kib KiB"
}

ask_lintian() {
    if ! have lintian; then
        skip "lintian is not installed"
        return
    fi
    lintian --allow-root --fail-on error,warning "$deb" || fail "lintian"
    ok "lintian"
}

# The newest version of the C library that a symbol asks for is the oldest that will do.
look_at_binary() {
    local binary=$work/deb/usr/bin/holdfast glibc libsystemd needed
    if ! have objdump; then
        skip "objdump is not installed: what the binary needs is not checked"
        return
    fi
    glibc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    libsystemd=$(objdump -p "$binary" | grep -o 'LIBSYSTEMD_[0-9]*' | sort -Vu | tail -n 1)
    needed=$(objdump -p "$binary" | awk '$1 == "NEEDED" { print $2 }' | sort | xargs)
    [ "$(printf '%s\n' "${glibc#GLIBC_}" "$glibc_max" | sort -V | tail -n 1)" = "$glibc_max" ] ||
        fail "it needs $glibc, more than $glibc_max: packaging/README.md says what that rules out"
    [ "${needed#ld-linux* }" = "libc.so.6 libgcc_s.so.1 libsystemd.so.0" ] || fail "it needs $needed"
    grep -qF "glibc ${glibc#GLIBC_} " packaging/README.md ||
        fail "packaging/README.md does not say $glibc"
    required=("libc.so.6($glibc)" "libsystemd.so.0($libsystemd)" "libgcc_s.so.1()")
    ok "the binary needs $glibc, $libsystemd, and of libraries: $needed"
}

look_into_tarball() {
    local tarball name
    tarball=$(echo "$out"/*.tar.gz)
    name=$(basename "$tarball" .tar.gz)
    tar --list --verbose --numeric-owner --file="$tarball" | awk '{ print $6, $1, $2 }' |
        sed "s#^$name#NAME#" | expect tarball.txt
    tar --extract --to-stdout --file="$tarball" "$name/usr/bin/holdfast" |
        cmp - "$work/deb/usr/bin/holdfast"
}

look_into_sbom() {
    local sbom
    if ! sbom=$(compgen -G "$out/*.cdx.json"); then return; fi
    /usr/bin/python3 - "$sbom" <<'EOF'
import json, sys
sbom = json.load(open(sys.argv[1]))
assert sbom["bomFormat"] == "CycloneDX", sbom["bomFormat"]
names = {component["name"] for component in sbom["components"]}
assert {"holdfast-core", "tokio", "systemd"} <= names, names
assert not {"sim", "expect-test"} & names, "what is only for tests is in it"
EOF
    ok "the SBOM names what is linked"
}

# --- a life of the .deb -----------------------------------------------------------------------------

# From where this machine has its own packages, which is near.
make_root() {
    local codename mirror packed
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    packed=$target_dir/package-root/$codename.tar
    if [ ! -e "$packed" ]; then
        # shellcheck disable=SC2016 # apt expands it
        mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" \
            "Codename: $codename" "Component: main" | head -n 1)
        mkdir -p "${packed%/*}"
        TMPDIR=$work mmdebstrap --quiet --mode=root --variant=essential \
            --include=systemd,systemd-sysv,dbus --skip=check/qemu,cleanup/reproducible \
            --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
            --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/locale/*' \
            "$codename" "${packed%/*}/new.tar" "$mirror" || return
        mv "${packed%/*}/new.tar" "$packed"
    fi
    mkdir "$root"
    tar --extract --directory="$root" --file="$packed"
}

# The same, as if it were of an earlier day.
make_older() {
    dpkg-deb --raw-extract "$deb" "$work/older"
    sed -i 's/^Version: .*/Version: 0.0.1-1/' "$work/older/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$work/older" "$root/older.deb" >/dev/null
    rm -r "$work/older"
    cp "$deb" "$root/newer.deb"
}

# With its own systemd, network and processes. It is not known to this machine's.
boot() {
    have systemd-nspawn || return
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --boot --directory="$root" \
        --register=no --keep-unit --private-network --console=pipe </dev/null >"$work/console" 2>&1 &
    booted=$!
    local tries
    for ((tries = 0; tries < 150; tries++)); do
        if inside="$(pgrep --parent "$booted" | head -n 1)" && [ -n "$inside" ] &&
            in_booted systemctl is-system-running 2>/dev/null | grep -qE '^(running|degraded)$'; then
            return
        fi
        [ -e "/proc/$booted" ] || break
        sleep 0.2
    done
    power_off
    return 1
}

in_booted() { nsenter --target "$inside" --all "${clean[@]}" "$@"; }

power_off() {
    local tries
    if [ -n "${inside-}" ]; then in_booted systemctl poweroff >/dev/null 2>&1 || true; fi
    for ((tries = 0; tries < 100; tries++)); do
        [ -e "/proc/$booted" ] || break
        sleep 0.2
    done
    kill -KILL "$booted" 2>/dev/null || true
    wait "$booted" || true
    booted=
}

live_deb() {
    if [ "$(id -u)" != 0 ] || ! have mmdebstrap; then
        skip "a life of the .deb: it needs root and mmdebstrap"
        return
    fi
    if ! make_root; then
        skip "a life of the .deb: no root could be made of Debian's packages"
        return
    fi
    make_older
    install -m 755 packaging/live-deb.sh "$root/live-deb.sh"
    if boot; then
        in_booted /live-deb.sh || fail "a life of the .deb"
        power_off
        ok "installed, upgraded, refused to go back, removed and purged: the .deb, where systemd runs"
    else
        skip "no systemd can be booted here: whether the agent is started and stopped is not checked"
        chroot "$root" "${clean[@]}" /live-deb.sh || fail "a life of the .deb"
        ok "installed, upgraded, refused to go back, removed and purged: the .deb, where no systemd runs"
    fi
}

# --- a life of the .rpm -----------------------------------------------------------------------------

# Without its scriptlets: they are for a root of another distribution.
live_rpm() {
    local rpm
    if ! rpm=$(compgen -G "$out/*.rpm"); then return; fi
    if ! have rpm; then
        skip "the .rpm is not checked: rpm is not installed"
        return
    fi
    rpm --checksig "$rpm" | grep -q 'digests OK$' || fail "rpm --checksig"
    rpm --query --package --queryformat '[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}\n]' "$rpm" |
        expect rpm.txt
    [ "$(rpm --query --package --configfiles "$rpm")" = /etc/holdfast/holdfast.toml ] || fail "config"
    rpm --query --package --scripts "$rpm" | grep -q 'try-restart holdfast.service' || fail "scriptlets"
    local what
    for what in "${required[@]}"; do
        rpm --query --package --requires "$rpm" | grep -qxF "$what(64bit)" ||
            fail "the .rpm does not require $what, as the binary does: see agent/Cargo.toml"
    done
    if [ "$(id -u)" = 0 ]; then
        mkdir "$work/rpm"
        rpm --root "$work/rpm" --initdb
        # Debian's own has words about being used at all.
        rpm --root "$work/rpm" --install --nodeps --noscripts "$rpm" 2>"$work/rpm.log" ||
            { cat "$work/rpm.log" && fail "the .rpm cannot be installed"; }
        "$work/rpm/usr/bin/holdfast" --version >/dev/null
        echo "# mine" >>"$work/rpm/etc/holdfast/holdfast.toml"
        rpm --root "$work/rpm" --erase --nodeps --noscripts holdfast 2>/dev/null
        [ ! -e "$work/rpm/usr/bin/holdfast" ] || fail "erased, and still there"
        [ -e "$work/rpm/etc/holdfast/holdfast.toml.rpmsave" ] || fail "what was edited is lost"
    fi
    ok "the .rpm is whole, is installed and erased"
}

# --------------------------------------------------------------------------------------------------

make_twice
if deb=$(compgen -G "$out/*.deb"); then
    look_into_deb
    ask_lintian
    look_at_binary
    look_into_tarball
    live_deb
else
    skip "the .deb and the tarball are not checked"
fi
look_into_sbom
live_rpm
