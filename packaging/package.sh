#!/usr/bin/env bash
# Makes the packages of the release binary, the same bytes each time:
#
#   packaging/package.sh [OUTDIR]    default: $CARGO_TARGET_DIR/package (target/package)
#
#   holdfast_VERSION-1_ARCH.deb                 Debian, Ubuntu          needs cargo-deb
#   holdfast-VERSION-1.ARCH.rpm                 Fedora and its kin      needs cargo-generate-rpm
#   holdfast-VERSION-linux-ARCH.tar.gz          the same files
#   holdfast-VERSION-linux-ARCH.cdx.json        what is linked into it  needs cargo-cyclonedx
#   SHA256SUMS
#
# `packaging/prerequisites.sh packages` installs these tools. What one is missing for is SKIPPED,
# loudly; REQUIRED=1 makes that a failure. What it took from an earlier run is removed first.
#
# All files have the time SOURCE_DATE_EPOCH: by default that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."

target_dir=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target_dir
out=$(realpath --canonicalize-missing "${1:-$target_dir/package}")
built=$target_dir/release/holdfast
# Where agent/Cargo.toml has both tools look.
stage=$target_dir/release/stage
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' agent/Cargo.toml)
version=$(sed -n '/^\[workspace.package\]/,/^\[d/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
plain_name=holdfast-$version-linux-$(uname -m)

say() { echo "package: $*" >&2; }
die() {
    say "$*"
    exit 1
}
skip() {
    if [ -n "${REQUIRED-}" ]; then die "$*"; fi
    say "SKIPPED: $*"
}

# Without git, as in an archive of the sources, any time will do that is always the same.
time_of_sources() { git log -1 --format=%ct 2>/dev/null || echo 1767225600; }

# --- what all packages hold -------------------------------------------------------------------------

stage_all() {
    local all=$stage/all
    rm -rf "$stage"
    install -d "$all"/usr/{bin,lib/{systemd/system,sysusers.d,tmpfiles.d}} "$all"/etc/holdfast
    install -d "$all"/usr/share/{man/man{1,5},bash-completion/completions,fish/vendor_completions.d}
    # Symbols are a quarter of it. The one that is built here keeps them, for backtraces.
    strip --strip-all --remove-section=.comment -o "$all/usr/bin/holdfast" "$built"
    install -m 644 systemd/*.service "$all/usr/lib/systemd/system"
    if compgen -G 'systemd/*.socket' >/dev/null; then
        install -m 644 systemd/*.socket "$all/usr/lib/systemd/system"
    fi
    install -m 644 systemd/holdfast.sysusers.conf "$all/usr/lib/sysusers.d/holdfast.conf"
    install -m 644 systemd/holdfast.tmpfiles.conf "$all/usr/lib/tmpfiles.d/holdfast.conf"
    install -m 644 packaging/holdfast.toml "$all/etc/holdfast/holdfast.toml"

    "${ask[@]}" man "$all/usr/share/man/man1"
    page_of_settings <packaging/holdfast.toml >"$all/usr/share/man/man5/holdfast.toml.5"
    gzip -9 --no-name "$all"/usr/share/man/*/*
    "${ask[@]}" completions bash >"$all/usr/share/bash-completion/completions/holdfast"
    "${ask[@]}" completions fish >"$all/usr/share/fish/vendor_completions.d/holdfast.fish"
}

# What the families of distributions have in places of their own.
stage_each() {
    local deb=$stage/deb/usr/share rpm=$stage/rpm/usr/share
    install -d "$deb"/{zsh/vendor-completions,lintian/overrides,doc/holdfast}
    install -d "$rpm"/{zsh/site-functions,licenses/holdfast}
    "${ask[@]}" completions zsh | tee "$deb/zsh/vendor-completions/_holdfast" \
        >"$rpm/zsh/site-functions/_holdfast"
    install -m 644 packaging/debian/lintian-overrides "$deb/lintian/overrides/holdfast"
    install -m 644 LICENSE "$rpm/licenses/holdfast/LICENSE"
    debian_changelog | gzip -9 --no-name >"$deb/doc/holdfast/changelog.Debian.gz"
}

# holdfast.toml(5), of the comments in the file: each key stands below what is said of it.
page_of_settings() {
    cat <<EOF
.TH HOLDFAST.TOML 5 "" "holdfast $version"
.SH NAME
holdfast.toml \- settings of the Holdfast agent
.SH SYNOPSIS
/etc/holdfast/holdfast.toml
.SH DESCRIPTION
EOF
    sed -e 1,2d -e 's/\\/\\e/g' -e 's/-/\\-/g' | awk '
        !begun && /^$/ { printf "%s", text; text = ""; begun = 1; print ".SH SETTINGS" }
        /^#[a-z_0-9]+ = / { print ".TP\n\\fB" substr($0, 2) "\\fR"; printf "%s", text; text = "" }
        /^# / { text = text (/^# (Allowed|Default|Also):/ ? ".br\n" : "") "\\&" substr($0, 3) "\n" }'
    printf '.SH SEE ALSO\n.BR holdfast (1)\n'
}

# One entry, for this version: the section of it in CHANGELOG.md, and the fragments that are in none.
debian_changelog() {
    local fragment
    echo "holdfast ($version-1) unstable; urgency=medium"
    echo
    {
        sed -n "/^## $version\b/,/^## / { /^#/d; /^$/d; s/^- //; p }" CHANGELOG.md
        for fragment in changelog.d/*.md; do
            if [ "$fragment" != changelog.d/README.md ]; then tr '\n' ' ' <"$fragment" && echo; fi
        done
        echo "Packages are made of this release."
    } | while read -r line; do
        fold --spaces --width=74 <<<"$line" | sed -e '1s/^/  * /' -e '2,$s/^/    /' -e 's/ *$//'
    done
    echo
    echo " -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
}

# --- the packages -----------------------------------------------------------------------------------

make_deb() {
    if ! cargo deb --version >/dev/null 2>&1; then
        skip "no .deb: cargo-deb is not installed"
        return
    fi
    cargo deb --quiet --locked --no-build --no-strip --package holdfast --output "$out/" >/dev/null
}

make_rpm() {
    if ! cargo generate-rpm --version >/dev/null 2>&1; then
        skip "no .rpm: cargo-generate-rpm is not installed"
        return
    fi
    # Its zstd takes six times as long, and a fifth off.
    cargo generate-rpm --package agent --auto-req disabled --payload-compress gzip --output "$out/"
}

make_tarball() {
    local tree=$stage/plain/$plain_name
    mkdir -p "$tree"
    cp -r "$stage/all/." "$stage/rpm/." "$tree"
    mv "$tree/usr/share/licenses/holdfast/LICENSE" "$tree"
    rm -r "$tree/usr/share/licenses"
    tar --create --directory="$stage/plain" --sort=name --format=gnu --mode=go-w \
        --owner=root:0 --group=root:0 --mtime="@$SOURCE_DATE_EPOCH" "$plain_name" |
        gzip -9 --no-name >"$out/$plain_name.tar.gz"
}

# The tool writes beside the manifests, so it gets a copy of the sources.
make_sbom() {
    local copy=$stage/sources
    if ! cargo cyclonedx --version >/dev/null 2>&1; then
        skip "no SBOM: cargo-cyclonedx is not installed"
        return
    fi
    mkdir "$copy"
    tar --create --exclude=./target --exclude=./.git . | tar --extract --directory="$copy"
    cargo cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --no-build-deps \
        --manifest-path "$copy/agent/Cargo.toml"
    # Where the copy was is nobody's business.
    sed "s#path+file://$copy/#path+file:///holdfast/#g" "$copy/agent/holdfast_bin.cdx.json" \
        >"$out/$plain_name.cdx.json"
}

# --------------------------------------------------------------------------------------------------

if [ ! -x "$built" ]; then
    die "there is no $built: cargo build --release --package holdfast"
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(time_of_sources)}
export SOURCE_DATE_EPOCH
umask 022
# What it says of itself does not depend on the environment of whoever asks.
ask=(env --ignore-environment "$built")

mkdir -p "$out"
rm -f "$out"/holdfast[-_]*.{deb,rpm,tar.gz,cdx.json} "$out/SHA256SUMS"
stage_all
stage_each
make_deb
make_rpm
make_tarball
make_sbom
(cd "$out" && sha256sum holdfast[-_]* >SHA256SUMS && ls -l --block-size=1 holdfast[-_]* >&2)
rm -rf "$stage"
