# Checks everything, changes nothing: what continuous integration runs.
verify:
    .ci/run
    cargo deny check

# Formats, and applies what clippy can mend.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# The integration tests on servers in containers, which the Docker engine runs. Where no registry is
# reached, `test-servers/images/import` makes the images from what is installed.
test-containers:
    OUTBOX_TEST_CONTAINERS=1 ./test --package integration-tests
