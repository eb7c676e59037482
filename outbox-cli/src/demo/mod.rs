use crate::exit::{Outcome, failed};
pub(crate) async fn run(_: &crate::cli::Demo) -> Outcome {
    Err(failed("not yet"))
}
