//! The protocols of the store as models, whose every run is explored (`docs/verification.md`).

#[path = "../../../outbox-core/tests/models/check.rs"]
mod check;
mod lanes;
mod windows;
