# Recipes for people who work on hisync. `just` without a name lists them.

default:
    @just --list

# What a change must pass before it is committed, without the slow tests.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Every test; installs what the tests need (a Python environment with foreign protocol peers).
test *ARGS:
    scripts/test {{ARGS}}

# The fixture cases of one connector, e.g. `just case mllp`.
case CONNECTOR:
    cargo test -p connector-{{CONNECTOR}} every_case

# Faults of disk, power, clock, network and sources on the real agent: --minutes N, --cuts all, --seed N.
faults *ARGS:
    scripts/faults {{ARGS}}

# Writes new expectations of fixture cases; look at the difference before you commit it.
bless:
    HISYNC_BLESS=1 scripts/test

# The main job on simulated systems: prints the addresses to look at.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Ratios against bare floors measured in the same run; the figures as JSON on stdout.
bench *ARGS:
    cargo build --profile dist
    cargo run --profile dist --example bench -- {{ARGS}}

# The Debian packages, into target/debian.
package:
    scripts/package

# Installs, upgrades, fails to upgrade and removes the package in an image of this machine; needs root.
package-test:
    packaging/test

# The connectors beside their bare drivers and parsers, as ratios in one run, and their memory over a million rows; the
# figures as JSON on stdout.
bench-connectors:
    scripts/bench-connectors

# The pictures of the status page again; needs chromium.
pictures:
    scripts/pictures

# The API documentation of all crates, with warnings denied.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# What CI runs.
ci:
    .ci/run
