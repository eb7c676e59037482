//! Keeps the name of the header with the id out of all other headers.

use std::borrow::Cow;

/// Servers search the headers for this text. Where they find it first in another name or value, they
/// see no id, and older ones take that header for it (nats-server#3645). The driver sends headers in a
/// random order.
const ID: &str = "Nats-Msg-Id";

/// The same for [`wire::read`](outbox_core::wire::read).
const ENCODED: &str = "%4Eats-Msg-Id";

/// A header of the wire form. If it has the name of the id, that is percent-encoded.
pub(crate) fn shielded<'a>(
    name: Cow<'a, str>,
    value: Cow<'a, str>,
) -> (Cow<'a, str>, Cow<'a, str>) {
    if !name.contains(ID) && !value.contains(ID) {
        return (name, value);
    }
    let is_decoded = ["outbox-", "ce-", "content-type"];
    if is_decoded.iter().any(|prefix| name.starts_with(prefix)) {
        let encoded = |text: &str| text.replace(ID, ENCODED).into();
        return (encoded(&name), encoded(&value));
    }
    let encoded = |text: &str| text.replace('%', "%25").replace(ID, ENCODED);
    let name = format!("outbox-header-{}", encoded(&name));
    (name.into(), encoded(&value).into())
}
