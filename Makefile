# mavera-rl. The two commands of the README are `make demo` and `make test`;
# both install what they need where that is allowed, and say what to install
# where it is not.
#
#   make                the C libraries, in target/release
#   make install        PREFIX=/usr/local LIBDIR= INCLUDEDIR= DESTDIR=
#   make uninstall      with the same
#   make demo           the gateway, with real requests against the contract
#   make demo-python    FastAPI under gunicorn, and a client that keeps its pace
#   make demo-go        gateways in C, Go and Python on one region
#   make test           all tests
#   make bench          the benchmarks, beside their peers
#   make bench-python   the same of the Python binding
#   make bench-go       the same of the Go package
#   make verify-long    deeper models, mutants, more cases: about an hour
#   make header         writes include/mavera_rl.h anew

CARGO  ?= cargo
PYTHON ?= python3
GO     ?= go
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# The library as a program would find it installed.
STAGE  := $(TARGET)/stage
STAGED := MAVERA_RL_CFLAGS="-I$(STAGE)/include" \
          MAVERA_RL_LIBRARY="$(STAGE)/lib/libmavera_rl.so" \
          MAVERA_RL_LIBS="-L$(STAGE)/lib -Wl,-rpath,$(STAGE)/lib -lmavera_rl"
GATEWAY := $(TARGET)/gateway/mavera-gateway
VENV    := $(TARGET)/venv
BINDING := bindings/python
GO_GATEWAY := $(TARGET)/go-gateway
# Go does not see when the library changes; its checksum among the flags does.
GO_LINK  = CGO_LDFLAGS="-L$(TARGET)/release" CGO_CFLAGS="-O2 \
    -DMAVERA_RL_BUILD=$$(cksum <$(TARGET)/release/libmavera_rl.a | cut -d' ' -f1)"
# The oldest that the package works with.
OLDEST_GO := go1.24.13
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: all lib install uninstall stage gateway go-gateway demo demo-python \
        demo-go test bench bench-python bench-go verify-long header toolchain \
        go-toolchain needs lint test-rust test-models test-freestanding \
        test-install test-c test-readme test-gateway test-python test-go clean

all: lib

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust 1.88 or later;" \
	    "please install it from https://rustup.rs" >&2; exit 1; }
	@scripts/require.sh cc=gcc

go-toolchain:
	@command -v $(GO) >/dev/null || { echo "missing: Go 1.24 or later;" \
	    "please install it from https://go.dev/dl" >&2; exit 1; }
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

demo-python: $(VENV)/mavera
	$(VENV)/bin/python examples/fastapi_demo.py

go-gateway: lib go-toolchain
	cd examples/go_gateway && $(GO_LINK) $(GO) build -o $(GO_GATEWAY) .

demo-go: gateway go-gateway $(VENV)/mavera
	$(VENV)/bin/python examples/three_gateways.py $(GATEWAY) $(GO_GATEWAY)

test: needs lint test-rust test-models test-freestanding test-install test-c \
      test-readme test-gateway test-python test-go
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

# What the tests in Python need. The pins are those of the last good run.
$(VENV)/tools: $(BINDING)/requirements-test.txt
	@scripts/require.sh python3 python:venv=python3-venv \
	    python:ensurepip=python3-venv
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

# The binding, installed as a user installs it.
$(VENV)/mavera: $(VENV)/tools Cargo.toml Cargo.lock \
        $(shell find src $(BINDING)/src $(BINDING)/python -type f \
            ! -name '*.pyc' ! -name '*.so') \
        $(BINDING)/Cargo.toml $(BINDING)/pyproject.toml $(BINDING)/README.md
	CARGO_TARGET_DIR=$(TARGET) $(VENV)/bin/pip install --quiet \
	    --force-reinstall --no-deps ./$(BINDING)
	@touch $@

# The source of limits, for its own tests of a storage.
$(VENV)/limits: $(VENV)/tools
	rm -rf $@ && mkdir $@
	$(VENV)/bin/pip download --quiet --no-deps --no-binary limits --dest $@ \
	    "$$($(VENV)/bin/pip freeze | grep '^limits==')"
	tar -xzf $@/limits-*.tar.gz -C $@ --strip-components 1

test-gateway: gateway $(VENV)/tools
	MAVERA_GATEWAY=$(GATEWAY) $(VENV)/bin/pytest -q tests/gateway
	examples/gateway/demo.sh $(GATEWAY)

test-python: toolchain $(VENV)/mavera $(VENV)/limits
	cd $(BINDING) && $(VENV)/bin/ruff check . ../../examples/*.py \
	    && $(VENV)/bin/ruff format --check . ../../examples/*.py
	cd $(BINDING) && $(VENV)/bin/mypy python tests benches ../../examples/*.py
	cd $(BINDING) && $(VENV)/bin/pyright --pythonpath $(VENV)/bin/python \
	    python ../../examples
	cd $(BINDING) && LIMITS_SOURCE=$(VENV)/limits $(VENV)/bin/pytest -q
	$(VENV)/bin/python examples/fastapi_demo.py

test-go: stage go-toolchain demo-go
	@unformatted=$$(gofmt -l bindings/go examples/go_gateway); \
	    [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted" >&2; exit 1; }
	cd bindings/go && $(GO_LINK) $(GO) vet ./...
	cd bindings/go && $(GO_LINK) $(GO) run $(STATICCHECK) ./...
	cd bindings/go && $(GO_LINK) $(GO) test ./...
	cd bindings/go && $(GO_LINK) $(GO) test -race ./...
	@scripts/require.sh pkg-config
	cd bindings/go && PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig \
	    CGO_LDFLAGS=-Wl,-rpath,$(STAGE)/lib \
	    $(GO) test -count 1 -short -tags mavera_dynamic .
	cd bindings/go/peers && $(GO_LINK) $(GO) vet ./... \
	    && $(GO_LINK) $(GO) test ./...

bench: toolchain
	$(CARGO) bench --locked --package mavera-rl

$(VENV)/floor: $(VENV)/tools Cargo.lock \
        $(wildcard $(BINDING)/benches/floor/*.toml \
            $(BINDING)/benches/floor/src/*.rs)
	CARGO_TARGET_DIR=$(TARGET) $(VENV)/bin/pip install --quiet \
	    --force-reinstall --no-deps ./$(BINDING)/benches/floor
	@touch $@

bench-python: toolchain $(VENV)/mavera $(VENV)/floor
	$(VENV)/bin/python $(BINDING)/benches/table.py

bench-go: lib go-toolchain
	cd bindings/go/peers && $(GO_LINK) $(GO) test -run '^$$' -bench . -count 5

verify-long: needs lib go-toolchain
	LOOM_MAX_PREEMPTIONS=4 scripts/loom.sh
	tests/mutants/run.py
	PROPTEST_CASES=20000 MAVERA_TORTURE_SECONDS=60 $(CARGO) test --release \
	    --locked --package mavera-rl
	tests/compare/limit_conn.sh
	$(BINDING)/tests/every_python.sh
	cd bindings/go && $(GO_LINK) GOTOOLCHAIN=$(OLDEST_GO) $(GO) test ./...

header: toolchain
	MAVERA_RL_BLESS=1 $(CARGO) test --locked --package mavera-rl --test header

clean:
	$(CARGO) clean
