//! The JSON documents: field names and values are a contract with whoever reads them in a script.
//!
//! Wire messages come in, `serde` structures go out. The promises are tested in `tests/contract`.

mod members;
mod networks;
mod node;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft_vtep::addr::Mac;

pub use members::{Member, Token};
pub use networks::{Attached, Detached, FdbEntry, Neighbor, Network, NetworkEndpoint, Removed, Subnet};
pub use node::{Event, Left, Path, Rekeyed, Session, Stats, Status, Totals};

/// What a value of a newer daemon is shown as.
const UNKNOWN: &str = "unknown";

/// A MAC address as text; what is none is shown as nothing.
fn mac(octets: &[u8]) -> String {
    Mac::read(octets).map(|mac| mac.to_string()).unwrap_or_default()
}

/// Milliseconds since 1970 as RFC 3339 says them; a number that is no time is shown as it is.
pub(super) fn utc(millis: u64) -> String {
    let time = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(time).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| millis.to_string())
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}
