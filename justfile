# Checks everything, changes nothing: what continuous integration runs.
verify:
    .ci/run

# Checks the crates that are separate workspaces, or one of them: `just layers outbox-append-sea-orm`.
layers *crates:
    .ci/layers {{crates}}

# Resolves the lock files of users with each data layer beside our stores, and builds them.
locks:
    .ci/locks build

# Checks licences, sources and advisories of the dependencies (cargo install --locked cargo-deny).
deny:
    cargo deny check

# Formats, and applies the fixes of clippy.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# The integration tests on servers in containers, which the Docker engine runs. Where no registry is
# reached, `test-servers/images/import` makes the images from what is installed.
test-containers:
    OUTBOX_TEST_CONTAINERS=1 ./test --package integration-tests

# The long versions: models with larger bounds, `cases` times the histories and scripts of each heap from `seed`, `runs` inputs for each fuzz target.
soak seed="1000" cases="10" runs="10000000":
    OUTBOX_MODEL_SOAK=1 cargo test --release -p outbox-core -p outbox-store-postgres --test models
    OUTBOX_CONFORMANCE_SEED={{seed}} OUTBOX_CONFORMANCE_CASES={{cases}} cargo test -p outbox-dlq-memory -p outbox-dlq-sqlite -p outbox-dlq-postgres -p outbox-dlq-redis --test conformance -- histories random_scripts
    OUTBOX_CONFORMANCE_SEED={{seed}} OUTBOX_CONFORMANCE_CASES={{cases}} cargo test -p integration-tests --test heaps_agree
    OUTBOX_CONFORMANCE_CASES=100 cargo test -p outbox-dlq-postgres -p outbox-dlq-redis -p outbox-store-postgres --test conformance -- wire
    OUTBOX_TEST_BROKER_EVENTS=100000 cargo test -p integration-tests --test brokers --test outage
    OUTBOX_TEST_BROKER_EVENTS=100000 cargo test --manifest-path outbox-transport-kafka/Cargo.toml --test relay
    OUTBOX_SABOTEUR_RUNS=200 OUTBOX_CONFORMANCE_CASES=4 cargo test -p outbox-conformance --test saboteurs
    .ci/locks build
    just fuzz {{runs}}

# Fuzzes what reads foreign input, `runs` inputs each (cargo install --locked cargo-fuzz).
fuzz runs="10000000":
    for target in $(cargo fuzz list); do RUSTC_BOOTSTRAP=1 cargo fuzz run -s none -a $target -- -runs={{runs}} -max_len=512 || exit 1; done
