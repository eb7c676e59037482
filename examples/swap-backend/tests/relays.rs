//! Runs the program of the package on its own backends. All packages of this folder share this file.

#[tokio::test(flavor = "multi_thread")]
async fn the_program_publishes_and_quarantines_on_its_backends()
-> Result<(), Box<dyn std::error::Error>> {
    integration_tests::swap::relays(env!("CARGO_PKG_NAME")).await
}
