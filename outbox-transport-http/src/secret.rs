//! The keys of signatures, and signatures as Standard Webhooks define them.

use crate::{BACKEND, OPEN};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use outbox_core::OutboxError;
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "whsec_";
/// What Standard Webhooks allow, in bytes.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;

/// A key that an endpoint shares, as [Standard Webhooks](https://www.standardwebhooks.com) write it:
/// `whsec_` and 24 to 64 bytes in base64.
///
/// ```
/// # use outbox_transport_http::Secret;
/// let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// The signature of a request: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
    pub(crate) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl FromStr for Secret {
    type Err = OutboxError;

    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if `text` has another form. The error does not show it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| invalid("secret does not start with whsec_, but must"))?;
        let key = STANDARD
            .decode(encoded)
            .map_err(|_| invalid("secret is no base64 behind whsec_, but must be"))?;
        let length = key.len();
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(invalid(format!(
                "secret is {length} bytes long, but must be {SHORTEST} to {LONGEST}"
            )));
        }
        let mac = Hmac::new_from_slice(&key);
        mac.map(Self)
            .map_err(|_| invalid("secret has a length that cannot be used"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn invalid(problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_example_of_standard_webhooks_has_its_signature() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_wrong_secret_is_refused_and_not_shown() {
        let long = format!("{PREFIX}{}", STANDARD.encode([7; 65]));
        for (text, problem) in [
            (
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "does not start with whsec_",
            ),
            ("whsec_hunter2!", "no base64"),
            (
                "whsec_aHVudGVyMg==",
                "secret is 7 bytes long, but must be 24 to 64",
            ),
            (long.as_str(), "secret is 65 bytes long"),
        ] {
            let error = text.parse::<Secret>().unwrap_err();
            assert_eq!(error.kind(), outbox_core::ErrorKind::Invalid);
            let shown = error.to_string();
            assert!(shown.contains(problem), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
