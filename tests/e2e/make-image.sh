#!/usr/bin/env bash
# Builds the workload and makes the image `holdfast-workload:latest` of it; prints the image's id.
#
#   tests/e2e/make-image.sh                 the image, on the Docker Engine that DOCKER_HOST names
#   tests/e2e/make-image.sh --tarball-only  just the tarball of its file system; prints its path
#
# Nothing is downloaded: the program is static and the image holds nothing else. The tarball is the
# same, byte for byte, for the same program; its digest is a label of the image, so that nothing is
# imported when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=holdfast-workload:latest
label=io.holdfast.workload.sha256

triple=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --quiet --release --package workload --target "$triple" --target-dir "$target_dir"

program=$target_dir/$triple/release/workload
tarball=$target_dir/workload.tar
tar --create --file "$tarball.new" --directory "$(dirname "$program")" \
    --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0755 workload
mv "$tarball.new" "$tarball"

case ${1-} in
--tarball-only)
    echo "$tarball"
    exit
    ;;
'') ;;
*)
    echo "usage: $0 [--tarball-only]" >&2
    exit 64
    ;;
esac

digest=$(sha256sum "$tarball" | cut -d' ' -f1)
present=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null || true)
if [ "$present" != "$digest" ]; then
    docker import \
        --change 'ENTRYPOINT ["/workload"]' \
        --change 'LABEL io.holdfast.test=1' \
        --change "LABEL $label=$digest" \
        "$tarball" "$tag" >/dev/null
fi
docker image inspect --format '{{.Id}}' "$tag"
