# mavera-rl. The two commands of the README are `make demo` and `make test`;
# both install what they need where that is allowed, and say what to install
# where it is not.
#
#   make                the C libraries, in target/release
#   make install        PREFIX=/usr/local LIBDIR= INCLUDEDIR= DESTDIR=
#   make uninstall      with the same
#   make demo           the gateway, with real requests against the contract
#   make test           all tests
#   make bench          the benchmarks, beside their peers
#   make verify-long    deeper models, mutants, more cases: about an hour
#   make header         writes include/mavera_rl.h anew

CARGO  ?= cargo
PYTHON ?= python3
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# The library as a program would find it installed.
STAGE  := $(TARGET)/stage
STAGED := MAVERA_RL_CFLAGS="-I$(STAGE)/include" \
          MAVERA_RL_LIBRARY="$(STAGE)/lib/libmavera_rl.so" \
          MAVERA_RL_LIBS="-L$(STAGE)/lib -Wl,-rpath,$(STAGE)/lib -lmavera_rl"
GATEWAY := $(TARGET)/gateway/mavera-gateway
VENV    := $(TARGET)/venv

.PHONY: all lib install uninstall stage gateway demo test bench verify-long \
        header toolchain needs lint test-rust test-models test-freestanding \
        test-install test-c test-readme test-gateway clean

all: lib

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust 1.88 or later;" \
	    "please install it from https://rustup.rs" >&2; exit 1; }
	@scripts/require.sh cc=gcc

lib: toolchain
	$(CARGO) build --release --locked --package mavera-rl-c

# Installing builds nothing, so that root need not run the compiler.
install uninstall:
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" \
	    DESTDIR="$(DESTDIR)" scripts/install.sh $@ $(TARGET)/release

stage: lib
	@PREFIX=$(STAGE) LIBDIR= INCLUDEDIR= DESTDIR= \
	    scripts/install.sh install $(TARGET)/release

gateway: stage
	@scripts/require.sh cc=gcc pkg-config \
	    pkg-config:libmicrohttpd=libmicrohttpd-dev
	@$(MAKE) --no-print-directory -C examples/gateway \
	    BUILD=$(TARGET)/gateway $(STAGED)

demo: gateway
	@scripts/require.sh curl
	examples/gateway/demo.sh $(GATEWAY)

test: needs lint test-rust test-models test-freestanding test-install test-c \
      test-readme test-gateway
	@echo "make test: all parts passed"

needs: toolchain
	@scripts/require.sh cc=gcc c++=g++ pkg-config cmake curl python3 \
	    python:venv=python3-venv python:ensurepip=python3-venv \
	    nm=binutils pkg-config:libmicrohttpd=libmicrohttpd-dev

lint: toolchain
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets \
	    --features mavera-rl/ffi,mavera-rl/crash-points -- -D warnings
	$(CARGO) clippy --locked --package mavera-rl --no-default-features \
	    --features ffi -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps \
	    --package mavera-rl

test-rust: toolchain
	$(CARGO) test --locked --workspace --features mavera-rl/ffi
	$(CARGO) test --locked --package mavera-rl --features crash-points \
	    --test crash_points

test-models: toolchain
	scripts/loom.sh

test-freestanding: toolchain
	tests/freestanding/check.sh

test-install: lib
	tests/install/check.sh $(TARGET)

test-c: stage
	$(MAKE) --no-print-directory -C tests/c check \
	    BUILD=$(TARGET)/c-tests $(STAGED)
	$(MAKE) --no-print-directory -C tests/c check SANITIZE=address \
	    BUILD=$(TARGET)/c-tests $(STAGED)

test-readme: stage
	tests/readme/check.sh $(STAGE)

$(VENV)/bin/pytest: tests/gateway/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

test-gateway: gateway $(VENV)/bin/pytest
	MAVERA_GATEWAY=$(GATEWAY) $(VENV)/bin/pytest -q tests/gateway
	examples/gateway/demo.sh $(GATEWAY)

bench: toolchain
	$(CARGO) bench --locked --package mavera-rl

verify-long: needs
	LOOM_MAX_PREEMPTIONS=4 scripts/loom.sh
	tests/mutants/run.py
	PROPTEST_CASES=20000 MAVERA_TORTURE_SECONDS=60 $(CARGO) test --release \
	    --locked --package mavera-rl
	tests/compare/limit_conn.sh

header: toolchain
	MAVERA_RL_BLESS=1 $(CARGO) test --locked --package mavera-rl --test header

clean:
	$(CARGO) clean
