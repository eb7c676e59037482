//! What can be found out without publishing.

use crate::config::Destinations;
use crate::outgoing::authorization;
use crate::target::Target;
use crate::{Inner, answer};
use outbox_core::{PublishError, PublishErrorKind, TransportCheck};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request, StatusCode};
use std::error::Error;
use tokio::time::{Instant, timeout};

pub(crate) async fn check(inner: &Inner) -> TransportCheck {
    let check = TransportCheck::default();
    let deadline = Instant::now() + inner.config.call_timeout;
    if let Err(problem) = inner.directory.look(deadline).await {
        return check.problem(problem);
    }
    let off = inner.directory.off().into_iter();
    let check = off.fold(check, |check, name| {
        check.warning(format!("destination {name} is switched off"))
    });
    match &inner.config.destinations {
        Destinations::Url(target) => ask(inner, target, check).await,
        Destinations::Table(..) => count(inner, check),
    }
}

/// The endpoints are not asked, because there may be many.
fn count(inner: &Inner, check: TransportCheck) -> TransportCheck {
    let (usable, wrong) = inner.directory.summary();
    let check = check.note(format!("endpoints that can be used: {usable}"));
    wrong.into_iter().fold(check, |check, (id, problem)| {
        check.warning(format!("endpoint {id} cannot be used: {problem}"))
    })
}

/// Sends the request `OPTIONS`, which changes nothing at an endpoint. Not all endpoints know it.
async fn ask(inner: &Inner, target: &Target, check: TransportCheck) -> TransportCheck {
    let name = target.name();
    let problem = |kind, source: Box<dyn Error + Send + Sync>| {
        let error = PublishError::new(kind).with_source(source);
        match name.constant() {
            Some(name) => error.with_destination(name),
            None => error,
        }
    };
    let url = target.constant_or_origin().clone();
    let mut request = Request::new(Method::OPTIONS, url);
    if let Some(authorization) = authorization(target) {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let limit = inner.config.call_timeout;
    let Ok(answered) = timeout(limit, inner.client.execute(request)).await else {
        let text = format!("no answer within the call timeout of {limit:?}");
        return check.problem(problem(PublishErrorKind::Unavailable, text.into()));
    };
    let status = match answered {
        Ok(response) => response.status(),
        Err(error) => {
            let kind = answer::failure(&error);
            return check.problem(problem(kind, error.without_url().into()));
        }
    };
    let check = notes(inner, target, check);
    if !target.is_constant() {
        return check.note(format!(
            "the host answers; what {name} stands for is known only from events"
        ));
    }
    if [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status) {
        let text = format!("the endpoint answered {status} to OPTIONS");
        return check.problem(problem(PublishErrorKind::Misconfigured, text.into()));
    }
    check.note(format!(
        "the endpoint answers {status} to OPTIONS; only events show whether it takes them"
    ))
}

fn notes(inner: &Inner, target: &Target, check: TransportCheck) -> TransportCheck {
    let check = match inner.config.secrets.len() {
        0 => check.warning("requests have no signature, because no secret is set"),
        count => check.note(format!("requests are signed, secrets: {count}")),
    };
    if target.needs_tls() {
        return check;
    }
    check.warning("requests are not encrypted: use https")
}
