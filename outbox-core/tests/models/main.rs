//! Models of the processors' protocols. Every possible run is checked (`docs/verification.md`).

mod check;
mod destinations;
mod quarantine;
