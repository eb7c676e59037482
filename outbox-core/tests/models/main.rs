//! The protocols of the processors as models, of which every run is explored (`docs/testing.md`).

mod check;
mod quarantine;
