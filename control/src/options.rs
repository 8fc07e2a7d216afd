//! The options of a network: `-o NAME=VALUE`, known by name.
//!
//! An option that is not known is refused by its name: a typing error must not become a network that quietly
//! lacks what its user asked for.

use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of an 802.1Q tag, which an inner frame may have on top of the MTU.
const VLAN_TAG: u32 = 4;

/// How long learned addresses may be kept, in seconds: the most is IEEE 802.1Q's.
const AGEING_S: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// What the options of a network mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Endpoints may send from MAC addresses other than their own.
    pub trust_macs: bool,
    /// Inner VLAN tags are carried, not stripped and dropped (RFC 7348 section 6.1 has the default).
    pub keep_vlan: bool,
    /// How long a learned address is kept without traffic; `None` for the data plane's default of 300 s.
    pub ageing: Option<Duration>,
    /// `plain` or `encrypted` was given: VXLAN in clear, or not. `None` leaves it to the other flags.
    pub plain: Option<bool>,
}

/// Why options are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No option has this name.
    #[error("there is no option `{0}`; the options are ageing, encrypted, plain, trust-macs and vlan")]
    Unknown(String),
    /// The option has no such value.
    #[error("the option {name} cannot be `{value}`: write {expected}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// `encrypted` beside `plain`.
    #[error("a network cannot be both plain and encrypted: leave one of the two out")]
    PlainAndEncrypted,
}

impl Options {
    /// Reads the options of a request or of a stored network.
    pub fn parse(given: &BTreeMap<String, String>) -> Result<Options, OptionError> {
        let mut options = Options::default();
        let mut encrypted = None;
        for (name, value) in given {
            match name.as_str() {
                "trust-macs" => options.trust_macs = switch("trust-macs", value)?,
                "plain" => options.plain = Some(switch("plain", value)?),
                "encrypted" => encrypted = Some(switch("encrypted", value)?),
                "ageing" => options.ageing = Some(ageing(value)?),
                "vlan" => {
                    options.keep_vlan = match value.as_str() {
                        "keep" => true,
                        "strip" => false,
                        _ => {
                            let expected = "vlan=keep or vlan=strip";
                            return Err(OptionError::Value { name: "vlan", value: value.clone(), expected });
                        }
                    }
                }
                _ => return Err(OptionError::Unknown(name.clone())),
            }
        }
        match (options.plain, encrypted) {
            (Some(plain), Some(encrypted)) if plain == encrypted => return Err(OptionError::PlainAndEncrypted),
            (None, Some(encrypted)) => options.plain = Some(!encrypted),
            _ => {}
        }
        Ok(options)
    }

    /// Bytes that an inner frame may be longer than its Ethernet header and the MTU.
    pub fn extra_header(&self) -> u32 {
        if self.keep_vlan { VLAN_TAG } else { 0 }
    }
}

fn ageing(value: &str) -> Result<Duration, OptionError> {
    let seconds = value.parse().ok().filter(|seconds| AGEING_S.contains(seconds));
    let expected = "a number of seconds from 1 to 1000000, as in ageing=300";
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| OptionError::Value {
        name: "ageing",
        value: value.to_owned(),
        expected,
    })
}

/// A switch is on when it is named alone, as in Docker's `-o encrypted`.
fn switch(name: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(OptionError::Value { name, value: value.to_owned(), expected: "true or false, or the name alone" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Options, OptionError> {
        Options::parse(&given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_switch_alone_is_on() {
        let options = parse(&[("trust-macs", ""), ("vlan", "keep"), ("plain", "")]).unwrap();
        assert_eq!(options, Options { trust_macs: true, keep_vlan: true, ageing: None, plain: Some(true) });
        assert_eq!(parse(&[("trust-macs", "false"), ("vlan", "strip")]).unwrap(), Options::default());
        assert_eq!(parse(&[("encrypted", "")]).unwrap().plain, Some(false));
        assert_eq!(parse(&[("encrypted", "false")]).unwrap().plain, Some(true));
    }

    #[test]
    fn ageing_is_in_seconds() {
        for seconds in [1, 300, 1_000_000] {
            let options = parse(&[("ageing", &seconds.to_string())]).unwrap();
            assert_eq!(options.ageing, Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn unknown_names_bad_values_and_contradictions_are_refused() {
        assert_eq!(parse(&[("trust-mac", "")]), Err(OptionError::Unknown("trust-mac".into())));
        assert!(matches!(parse(&[("vlan", "")]), Err(OptionError::Value { name: "vlan", .. })));
        for bad in ["", "0", "-1", "1000001", "5m"] {
            assert!(matches!(parse(&[("ageing", bad)]), Err(OptionError::Value { name: "ageing", .. })), "{bad}");
        }
        assert!(matches!(parse(&[("plain", "yes please")]), Err(OptionError::Value { name: "plain", .. })));
        assert_eq!(parse(&[("plain", ""), ("encrypted", "")]), Err(OptionError::PlainAndEncrypted));
        assert_eq!(parse(&[("plain", ""), ("encrypted", "false")]).unwrap().plain, Some(true));
    }
}
