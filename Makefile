# The front door: `make` says what there is. Each target is one command that you could type yourself.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prerequisites build package image demo test image-test lab-test chaos bench bench-sim lint fmt sim soak clean

# For `make sim` and `make chaos`.
SEED ?= 1
MINUTES ?= 30
AGENTS ?= 100

# For `make bench`: parts and trials, as in BENCH='--only host-lost,idle --trials 2'.
BENCH ?=

# For `make soak`: virtual hours, and hosts; from another seed each time.
HOURS ?= 1000
HOSTS ?= 10

# Installs what is missing and names a Docker Engine, for the rest of the same recipe.
with_engine = engine=$$(packaging/prerequisites.sh); eval "$$engine"

help: ## what there is to make (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

prerequisites: ## install what is missing, find or start a Docker Engine (Debian, Ubuntu)
	@packaging/prerequisites.sh

build: ## the release binary, and the archive of the image that demo and tests run
	@cargo build --release --package holdfast
	tests/e2e/make-image.sh --archive-only

package: ## .deb, .rpm, tarball, SBOM and checksums, in target/package (Debian, Ubuntu)
	@packaging/prerequisites.sh packages
	cargo build --locked --release --package holdfast
	REQUIRED=1 packaging/package.sh

image: ## bake a machine image: Debian, Docker and Holdfast; in target/image (root; Debian, Ubuntu)
	@packaging/prerequisites.sh test-packages
	packaging/prerequisites.sh image
	cargo build --locked --release --package holdfast
	ami/bake.sh
	ami/check-root.sh "$${CARGO_TARGET_DIR:-target}/image/holdfast.tar"
	ami/check-template.sh

demo: ## a cluster on this machine: watch it lose hosts and hold its counts
	@$(with_engine)
	cargo build --release --package holdfast
	tests/e2e/make-image.sh
	cargo run --release --package e2e --bin demo

test: ## everything that CI runs, cheapest first
	@$(with_engine)
	.ci/steps.sh

image-test: ## bake one, and boot two hosts from it in an emulator: they hold a count (root; up to 20 minutes)
	@packaging/prerequisites.sh test-packages
	packaging/prerequisites.sh image
	cargo build --locked --release --package holdfast
	ami/image-test.sh

lab-test: ## several real hosts on this machine, and the faults that machines have (root)
	@packaging/prerequisites.sh lab
	cargo test --locked --no-fail-fast --package e2e --test lab -- --test-threads=1

chaos: ## faults drawn from a seed on real hosts: make chaos SEED=7 MINUTES=30 (root)
	@packaging/prerequisites.sh lab
	cargo run --release --package e2e --bin chaos -- $(SEED) $(MINUTES)

bench: ## measure beside Docker Swarm in the lab (into docs/benchmarks.md; root): make bench BENCH='--only idle'
	@packaging/prerequisites.sh bench
	cargo run --release --package e2e --bin bench -- --write docs/benchmarks.md $(BENCH)

bench-sim: ## measure in the simulator, beside memberlist and foca (into docs/benchmarks.md)
	@cargo run --release --package sim -- bench --write docs/benchmarks.md

lint: ## the checks that need no Docker: format, scripts, tidy, licences, clippy
	@.ci/steps.sh format scripts tidy licences clippy

fmt: ## format the Rust
	@cargo fmt --all
	rustfmt --edition 2024 agent/pause/pause.rs

sim: ## one simulated run, traced: make sim SEED=7 AGENTS=100
	@cargo run --release --package sim -- $(SEED) --agents $(AGENTS) --trace

soak: ## virtual hours of a faulted cluster, on all cores: make soak HOURS=1000 HOSTS=10
	@cargo run --release --package sim -- hours $(HOURS) --agents $(HOSTS) --from $$(date +%s)

clean: ## remove what was built
	@cargo clean

# A recipe is one script, so that the engine it found is known to its last line.
.ONESHELL:
