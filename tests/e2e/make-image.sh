#!/usr/bin/env bash
# Builds the workload and makes the image `holdfast-workload:latest` of it; prints the image's id.
#
#   tests/e2e/make-image.sh                 the image, on the Docker Engine that DOCKER_HOST names
#   tests/e2e/make-image.sh --archive-only  just an archive for `docker load`; prints its path
#
# Nothing is downloaded: the program is static and the image holds nothing else. The archive is the
# same, byte for byte, for the same program, and so is the image's id on every engine; the program's
# digest is a label of the image, so that nothing is loaded when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=holdfast-workload:latest
label=io.holdfast.workload.sha256

triple=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --quiet --release --package workload --target "$triple" --target-dir "$target_dir"

case $triple in
x86_64-*) architecture=amd64 ;;
aarch64-*) architecture=arm64 ;;
*) architecture=${triple%%-*} ;;
esac

# pack ARCHIVE DIRECTORY FILE...: the same bytes for the same files.
pack() {
    tar --create --file "$1" --directory "$2" \
        --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "${@:3}"
}
digest_of() { sha256sum "$1" | cut -d' ' -f1; }

archive=$target_dir/workload-image.tar
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
pack "$parts/layer.tar" "$target_dir/$triple/release" --mode=0755 workload
digest=$(digest_of "$parts/layer.tar")
cat >"$parts/config.json" <<EOF
{"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:00Z",
"config":{"Entrypoint":["/workload"],"Labels":{"io.holdfast.test":"1","$label":"$digest"}},
"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]},
"history":[{"created":"1970-01-01T00:00:00Z","created_by":"tests/e2e/make-image.sh"}]}
EOF
config=$(digest_of "$parts/config.json").json
mv "$parts/config.json" "$parts/$config"
echo "[{\"Config\":\"$config\",\"RepoTags\":[\"$tag\"],\"Layers\":[\"layer.tar\"]}]" \
    >"$parts/manifest.json"
pack "$parts/image.tar" "$parts" --mode=0644 "$config" layer.tar manifest.json
# Never half written, whoever reads it at this moment.
mv "$parts/image.tar" "$archive.$$"
mv "$archive.$$" "$archive"

case ${1-} in
--archive-only)
    echo "$archive"
    exit
    ;;
'') ;;
*)
    echo "usage: $0 [--archive-only]" >&2
    exit 64
    ;;
esac

present=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null || true)
if [ "$present" != "$digest" ]; then
    docker load --quiet --input "$archive" >/dev/null
fi
docker image inspect --format '{{.Id}}' "$tag"
