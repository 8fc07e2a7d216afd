//! The names of things on the segment: MAC addresses, VNIs, ports.
//!
//! All are small `Copy` values, so that the packet path never borrows from a table.

use std::fmt;
use std::str::FromStr;

/// An Ethernet MAC address, in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The all-ones address.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Makes an address from its six octets in wire order.
    pub const fn new(octets: [u8; 6]) -> Self {
        Mac(octets)
    }

    /// Reads the first six bytes of `bytes`; `None` if there are fewer.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|octets| Mac(*octets))
    }

    /// The six octets in wire order.
    #[inline]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// True for group addresses (multicast and broadcast): the I/G bit of IEEE 802.
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for an address that one station may hold: not a group address and not all zero.
    #[inline]
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// A locally administered unicast address from 46 random bits.
    pub const fn local_from(random: [u8; 6]) -> Self {
        let mut octets = random;
        octets[0] = (octets[0] & 0xfc) | 0x02;
        Mac(octets)
    }

    /// The address as the low 48 bits of an integer: a cheap hash and compare key.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        let o = self.0;
        u64::from_be_bytes([0, 0, o[0], o[1], o[2], o[3], o[4], o[5]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a MAC address or a VNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not six pairs of hexadecimal digits joined by colons.
    #[error("not a MAC address: write six pairs of hexadecimal digits, as in 02:00:00:00:00:01")]
    Mac,
    /// Not a number from 1 to 16777215.
    #[error("not a VNI: it is a number from 1 to 16777215")]
    Vni,
}

impl FromStr for Mac {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseError::Mac)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseError::Mac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseError::Mac)?;
        }
        parts.next().is_none().then_some(Mac(octets)).ok_or(ParseError::Mac)
    }
}

/// A VXLAN network identifier: 24 bits, not zero (RFC 7348 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vni(u32);

impl Vni {
    /// The largest VNI.
    pub const MAX: u32 = 0x00ff_ffff;

    /// `None` when `value` is zero or does not fit 24 bits.
    #[inline]
    pub const fn new(value: u32) -> Option<Self> {
        if value == 0 || value > Self::MAX { None } else { Some(Vni(value)) }
    }

    /// The identifier as a number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vni {}", self.0)
    }
}

impl FromStr for Vni {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().ok().and_then(Vni::new).ok_or(ParseError::Vni)
    }
}

/// A local port of the switch: one endpoint's TAP. Never used twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips_and_bad_text_is_refused() {
        let mac: Mac = "02:00:5e:10:ab:FF".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:ab:ff");
        assert_eq!(mac.to_bits(), 0x0200_5e10_abff);
        for bad in ["", "02", "02:00:5e:10:ab", "02:00:5e:10:ab:ff:00", "02:00:5e:10:ab:+f", "2:0:5e:10:ab:ff0"] {
            assert_eq!(bad.parse::<Mac>(), Err(ParseError::Mac), "{bad}");
        }
    }

    #[test]
    fn vni_is_24_bits_and_not_zero() {
        assert!("0".parse::<Vni>().is_err() && "16777216".parse::<Vni>().is_err());
        assert_eq!("16777215".parse::<Vni>().unwrap().get(), Vni::MAX);
    }

    #[test]
    fn a_random_mac_is_local_and_unicast() {
        let mac = Mac::local_from([0xff; 6]);
        assert!(mac.is_station());
        assert_eq!(mac.octets()[0] & 0x03, 0x02);
    }
}
