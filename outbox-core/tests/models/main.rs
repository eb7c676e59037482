//! Models of the processors' protocols. Every possible run is checked (`docs/testing.md`).

mod check;
mod quarantine;
