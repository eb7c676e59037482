# Checks everything, changes nothing: what continuous integration runs.
verify:
    .ci/run
    cargo deny check

# Formats, and applies what clippy can mend.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
