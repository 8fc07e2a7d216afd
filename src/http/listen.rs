//! Where something is served over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What `--metrics` and `--page` say.
///
/// A port alone is one of the loopback interface: what is told of a network there is its operator's. Other addresses
/// have to be written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere, whatever was said before.
    Off,
    /// Here.
    At(SocketAddr),
}

impl Listen {
    /// The address, if there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port_of_loopback = |port: &str| Some(SocketAddr::new(local, port.parse().ok()?));
        let address = match text.rsplit_once(':') {
            None => port_of_loopback(text),
            Some(("localhost", port)) => port_of_loopback(port),
            Some(("" | "*", port)) => {
                return Err(format!(
                    "that would be every address of this host, and so other hosts': write {port} or 127.0.0.1:{port} \
                     for this host alone, 0.0.0.0:{port} if others are to read it"
                ));
            }
            Some((_, _)) => text.parse().ok(),
        };
        match address {
            Some(address) if address.port() != 0 => Ok(Listen::At(address)),
            _ => Err("write a port, ADDRESS:PORT with an IP address (IPv6 in brackets), or off".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<String>, String> {
        text.parse().map(|listen: Listen| listen.address().map(|address| address.to_string()))
    }

    #[test]
    fn a_port_alone_is_of_loopback_and_others_are_written_out() {
        assert_eq!(parse("9469"), Ok(Some("127.0.0.1:9469".to_owned())));
        assert_eq!(parse("localhost:9469"), Ok(Some("127.0.0.1:9469".to_owned())));
        assert_eq!(parse("[::1]:9469"), Ok(Some("[::1]:9469".to_owned())));
        assert_eq!(parse("192.0.2.1:9469"), Ok(Some("192.0.2.1:9469".to_owned())));
        assert_eq!(parse("0.0.0.0:9469"), Ok(Some("0.0.0.0:9469".to_owned())));
        assert_eq!(parse("off"), Ok(None));
    }

    #[test]
    fn what_would_open_it_to_others_unsaid_is_refused_with_the_reason() {
        for text in [":9469", "*:9469"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("every address") && error.contains("127.0.0.1:9469"), "{error}");
        }
        for text in ["", "0", "70000", "name:9469", "127.0.0.1", "127.0.0.1:0", "::1:9469"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
