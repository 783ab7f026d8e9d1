#!/usr/bin/env bash
# Checks the Packer template as far as the Packer that is here can.
#
# Debian's is 1.6.6: it has the builders built in, and does not know the blocks of today's that choose
# plugins and ask for IMDSv2. With an older one than the template wants, a copy without those is
# validated, and that they are in the template is looked up.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v packer >/dev/null; then
    echo "SKIPPED: packer is not installed: packaging/prerequisites.sh image installs it"
    exit
fi
export CHECKPOINT_DISABLE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/holdfast.deb"

template=holdfast.pkr.hcl
for wanted in 'http_tokens *= "required"' 'imds_support *= "v2.0"' 'http_put_response_hop_limit *= 1'; do
    grep -qE "^ *$wanted\$" "$template" || {
        echo "$template does not say $wanted"
        exit 1
    }
done

version=$(packer version | sed -n '1s/^Packer v//p')
if [ "$(printf '%s\n' 1.8.0 "$version" | sort -V | head -n 1)" = 1.8.0 ]; then
    packer validate -var "deb=$work/holdfast.deb" "$template"
    echo "$template: as Packer $version has it"
    exit
fi
cp provision.sh "$work"
# Each block up to the brace that closes it, at its own indentation.
sed -e '/^packer {/,/^}/d' -e '/^  metadata_options {/,/^  }/d' -e '/^  imds_support /d' "$template" >"$work/$template"
packer validate -var "deb=$work/holdfast.deb" "$work/$template"
echo "$template: as Packer $version has it, but for required_plugins, metadata_options and imds_support"
