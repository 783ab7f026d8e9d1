#!/usr/bin/env bash
# The steps of `make test`, cheapest first; stops at the first that fails.
#
#   .ci/steps.sh                  all of them
#   .ci/steps.sh format clippy    only these, in the order of the list
#   KEEP_GOING=1 .ci/steps.sh     all of them, whatever fails
#
# Each step prints its seconds. The last line sums up what really ran: the tests as their runners
# counted them, and one for each step that has no tests. What cannot run here is SKIPPED, loudly.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=(format scripts tidy licences clippy core proof agent podman release packages e2e lab units)
target_dir=${CARGO_TARGET_DIR:-target}
skipped_status=75 # EX_TEMPFAIL: not here, not now

skip() {
    echo "SKIPPED: $*"
    return "$skipped_status"
}

# The pause program is in no package: the daemon's build script compiles it, and cargo does not see it.
pause=(--edition 2024 agent/pause/pause.rs)

step_format() { cargo fmt --all --check && rustfmt --check "${pause[@]}"; }

step_scripts() {
    if ! command -v shellcheck >/dev/null; then
        skip "shellcheck is not installed"
        return
    fi
    local scripts
    # Every file that bash or sh runs: by its name, or by its first line.
    mapfile -t scripts < <(grep --recursive --files-with-matches --include='*.sh' \
        --exclude-dir=target --exclude-dir=.git '' . &&
        grep --files-with-matches '^#!.*sh$' .ci/* packaging/debian/*)
    mapfile -t scripts < <(printf '%s\n' "${scripts[@]#./}" | sort -u)
    shellcheck --external-sources "${scripts[@]}" && echo "${#scripts[@]} scripts"
}

# It asks cargo, offline, what the daemon is built with.
step_tidy() { cargo fetch --locked && cargo test --locked --package tidy; }

step_licences() {
    if ! cargo deny --version >/dev/null 2>&1; then
        skip "cargo-deny is not installed: licences, bans and sources are not checked (cargo install cargo-deny)"
        return
    fi
    # Not the advisories: they need the network, and they change while the tree does not.
    cargo deny --offline check licenses bans sources
}

step_clippy() {
    cargo clippy --locked --workspace --all-targets -- --deny warnings
    clippy-driver "${pause[@]}" --crate-type bin -C panic=abort --emit metadata \
        --out-dir "$target_dir" --deny warnings
}

step_core() { cargo test --locked --no-fail-fast --package holdfast-core --package sim; }

# The fault cases with their planted bugs, the small model, and twenty virtual hours of ten hosts.
# `make soak` simulates as many as one likes.
step_proof() {
    cargo build --locked --release --package sim
    "$target_dir/release/sim" planted
    "$target_dir/release/sim" model
    "$target_dir/release/sim" hours 20
}

step_agent() {
    # The contract of the runtime boundary, and more, is tested on the Docker Engine with this image.
    tests/e2e/make-image.sh
    HOLDFAST_TEST_DOCKER_IMAGE=holdfast-workload:latest \
        cargo test --locked --no-fail-fast --package holdfast --package workload
}

# The same tests of the runtime on Podman's service. What Podman does otherwise is skipped by name.
step_podman() {
    local engine status=0
    if ! engine=$(packaging/prerequisites.sh podman); then
        skip "no Podman here: its own words are above"
        return
    fi
    DOCKER_HOST=${engine#export DOCKER_HOST=} HOLDFAST_TEST_DOCKER_IMAGE=holdfast-workload:latest \
        sh -c 'tests/e2e/make-image.sh &&
            cargo test --locked --no-fail-fast --package holdfast runtime::tests' || status=$?
    packaging/prerequisites.sh stop-podman
    return "$status"
}

step_release() { cargo build --locked --release --package holdfast; }

# The life of a package needs root. The .rpm and the SBOM are checked only where their tools are,
# which take long to build.
step_packages() {
    if [ "$(id -u)" = 0 ]; then
        # In CI tools that cannot be had are a failure, as nobody reads what is skipped there.
        packaging/prerequisites.sh test-packages || [ -z "${CI-}" ] || return 1
    fi
    packaging/test-packages.sh
}

step_e2e() {
    tests/e2e/make-image.sh && cargo test --locked --no-fail-fast --package e2e --lib --bins --test it
}

# What of the lab fits into five minutes; `make lab-test` runs all of it.
lab_tests=(
    ground::
    losses::all_but_one_host_may_be_lost_at_once
    losses::a_host_that_shuts_down_in_order
    agents::all_agents_may_be_killed_at_once
    agents::an_agent_that_is_frozen_for_ten_seconds
    dockers::a_docker_that_is_killed_and_ends_its_containers
    splits::a_split_of_two_against_three
    splits::a_broken_link_between_two_hosts
    policies::hold_replaces_nothing_that_is
    meetings::
    reach::
    discovery::
)

step_lab() {
    local why
    # Without root there is no lab, whatever is installed.
    if [ "$(id -u)" = 0 ]; then packaging/prerequisites.sh lab; fi
    cargo build --locked --package e2e --bin lab
    # It says what is missing: root, or a tool.
    if ! why=$("$target_dir/debug/lab" check 2>&1); then
        # In CI a missing lab is a failure, as nobody reads what is skipped there.
        if [ -n "${CI-}" ]; then
            echo "no lab here, and CI is set: $why"
            return 1
        fi
        skip "the lab's tests: $why"
        return
    fi
    cargo test --locked --no-fail-fast --package e2e --test lab -- --test-threads=1 "${lab_tests[@]}"
}

step_units() {
    local units copy said
    mapfile -t units < <(find systemd -name '*.service' -o -name '*.socket' -o -name '*.timer' \
        -o -name '*.slice' -o -name '*.target' -o -name '*.path' 2>/dev/null | sort)
    if [ "${#units[@]}" = 0 ]; then
        skip "there are no units in systemd/"
        return
    fi
    if ! command -v systemd-analyze >/dev/null; then
        skip "systemd-analyze is not installed"
        return
    fi
    # The units name the installed program. A copy names the one just built, which must exist.
    copy=$(mktemp -d)
    cp -r systemd/. "$copy"
    find "$copy" -type f -exec sed -i -E \
        "s#^(Exec[A-Za-z]+=[-@:+!]*)/usr/(local/)?s?bin/holdfast#\1$(realpath "$target_dir")/release/holdfast#" {} +
    # It complains of unknown keys and still succeeds; silence is what we want.
    said=$(systemd-analyze verify --man=no --recursive-errors=no "${units[@]/#systemd/$copy}" 2>&1) ||
        said=${said:-it failed without a word}
    rm -rf "$copy"
    if [ -n "$said" ]; then
        echo "${said//$copy/systemd}"
        return 1
    fi
    check_exposure
    echo "${#units[@]} units"
}

# How much of the host a service may do harm to, in tenths, as `systemd-analyze security` scores it.
# The agent is root, as whoever speaks to Docker is.
check_exposure() {
    local unit max
    if ! systemd-analyze security --help | grep -q -- --offline; then
        echo "SKIPPED: this systemd-analyze (before 250) cannot score what is not installed"
        return
    fi
    for unit in systemd/*.service; do
        max=20
        if [ "$unit" = systemd/holdfast.service ]; then max=26; fi
        systemd-analyze security --offline=true --threshold="$max" "$PWD/$unit" | tail --lines=1
    done
}

# --------------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=() log=$(mktemp)
trap 'rm -f "$log"' EXIT

# counted WORD: the sum of what the test runners said in the log, "N WORD".
counted() {
    awk -v word="$1" '/^test result:/ {
        for (i = 2; i <= NF; i++) if ($i ~ "^" word ";?$") sum += $(i - 1)
    } END { print sum + 0 }' "$log"
}

summary() {
    local note=
    if [ "${#skipped[@]}" -gt 0 ]; then note=" (SKIPPED: ${skipped[*]})"; fi
    echo "$passed passed, $failed failed$note"
}

# run STEP: its output is shown and counted; `broken` says whether it failed. Not to be called in a
# condition: there bash ignores `set -e`, also inside the step, whose last command alone would count.
run() {
    local step=$1 status=0 from=${EPOCHREALTIME/[.,]/} seconds tests_passed tests_failed
    echo "== $step"
    # In a subshell of its own, so that `set -e` holds inside the step.
    set +e
    (set -e; "step_$step") 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    set -e
    seconds=$(((${EPOCHREALTIME/[.,]/} - from) / 100000))
    seconds=$((seconds / 10)).$((seconds % 10))
    tests_passed=$(counted passed) tests_failed=$(counted failed)
    passed=$((passed + tests_passed)) failed=$((failed + tests_failed))
    case $status in
    0)
        if ! grep -q "^test result:" "$log"; then passed=$((passed + 1)); fi
        echo "== $step: ok, $seconds s"
        ;;
    "$skipped_status")
        skipped+=("$step")
        echo "== $step: SKIPPED"
        ;;
    *)
        if [ "$tests_failed" = 0 ]; then failed=$((failed + 1)); fi
        broken=1
        echo "== $step: FAILED, $seconds s"
        ;;
    esac
}

for wanted in "$@"; do
    if ! declare -F "step_$wanted" >/dev/null; then
        echo "no step is called $wanted; there are: ${steps[*]}" >&2
        exit 64
    fi
done
for step in "${steps[@]}"; do
    if [ $# -gt 0 ] && [[ " $* " != *" $step "* ]]; then continue; fi
    broken=
    run "$step"
    if [ -n "$broken" ] && [ -z "${KEEP_GOING-}" ]; then break; fi
done
summary
[ "$failed" = 0 ]
