# Every task has one recipe here. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help demo demo-cluster build test lint chart picture fmt check bench bench-cluster bench-controller deny core clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: tools-rust ## Build the release binary: target/release/pullpass
	$(CARGO) build --release --locked

demo: tools-python build ## See the webhook answer a real AdmissionReview; stops by itself
	python3 examples/demo.py target/release/pullpass

demo-cluster: tools-rust tools-go tools-python ## See a Pod wait for its pull secret in a real control plane, and a rotation
	@echo 'demo-cluster: the first time it builds a Kubernetes control plane from its Go sources (about 8 minutes with two cores),'
	@echo 'demo-cluster: fetches a registry, and builds the release binary (minutes); then it takes less than one'
	tests/controlplane/build.sh
	tests/registry/build.sh
	$(CARGO) build --release --locked
	python3 examples/demo_cluster.py target/release/pullpass

# Warnings are errors here and nowhere else: a newer compiler must not break somebody's build.
lint: tools-rust core ## Formatting, clippy, the core's purity
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings

core: tools-rust ## The core alone has no runtime, network or command line in its tree
	$(CARGO) check --locked --lib --no-default-features
	@tree=$$($(CARGO) tree --locked --no-default-features -e normal --prefix none); \
	if grep -E '^(tokio|hyper|axum|kube|rustls|clap|tracing-subscriber)[ -]' <<<"$$tree"; then \
	  echo 'error: the core depends on an edge' >&2; exit 1; fi

test: tools-rust tools-go tools-python ## Every test; the last lines count them
	./tests/run.sh

check: lint test ## What CI runs

chart: tools-rust tools-go ## Make anew what is made from the chart: its reference, its schema of policies, kustomize, snapshots
	tests/controlplane/build.sh
	tests/helm/build.sh
	UPDATE_CHART=1 INSTA_UPDATE=always $(CARGO) test --locked --test it -- chart:: the_chart_ships --skip installed --skip overlay

picture: tools-go tools-python build ## Draw the dashboard with real data, to look at: target/dashboard/dashboard.png
	python3 tests/dashboard/picture.py

fmt: tools-rust ## Format the code
	$(CARGO) fmt --all

bench: tools-rust tools-go tools-python ## Benchmarks: criterion, then the servers side by side
	$(CARGO) bench --locked
	$(CARGO) build --release --locked
	python3 benches/compare.py

bench-cluster: tools-go tools-python build ## Benchmarks against a real API server: edits, a big cluster, Pod creation
	python3 benches/cluster.py

# The loop needs no cloud, so it is built without the SDKs.
bench-controller: tools-go tools-python build ## Credentials in a real API server, beside a bare loop of the same applies
	$(CARGO) build --release --locked --no-default-features --features cluster --example applies
	python3 benches/controller.py

deny: tools-rust ## Licenses, bans and sources of the dependencies (installs cargo-deny once)
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	$(CARGO) deny --locked check bans licenses sources

.PHONY: tools-rust tools-go tools-python
tools-rust:
	@command -v $(CARGO) >/dev/null || { echo 'error: no cargo: install Rust by https://rustup.rs' >&2; exit 1; }
tools-go:
	@command -v go >/dev/null || { echo 'error: no go: the tests compare with Go packages; install it by https://go.dev/dl' >&2; exit 1; }
tools-python:
	@command -v python3 >/dev/null || { echo 'error: no python3: install it by your package manager' >&2; exit 1; }
