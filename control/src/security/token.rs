//! Join tokens: what lets a new node in.
//!
//! A token is one line of text, `weft1.<hash of the CA>.<id>.<secret>`. Its holder trusts the CA with that hash and
//! nothing else, and shows the secret only to it. The cluster keeps a [`TokenRecord`] of it, which holds the secret's
//! hash and the token's terms and is no help to get in: the text itself is shown once, when it is made.
//!
//! Uses are counted where the certificate is signed. Two signers that admit at the same moment may together grant one
//! use too many; an expiry is exact.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{constant_time, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ca::{self, CaHash};
use super::hex;

/// What a token begins with: its version.
const VERSION: &str = "weft1";

/// Which token it is: 16 hexadecimal digits, no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; 8]);

/// A token as its holder has it. Its `Debug` form does not show the secret; its `Display` form is the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    ca: CaHash,
    id: TokenId,
    secret: Zeroizing<[u8; 32]>,
}

/// What the cluster knows of a token: the object of kind `TOKEN` with this id, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Which token.
    pub id: TokenId,
    /// SHA-256 of its secret, hexadecimal.
    secret_sha256: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From when on it is refused, in seconds since 1970.
    pub expires: u64,
    /// How many nodes it was made for. Absent: as many as come.
    pub uses: Option<u32>,
    /// How many have come.
    pub used: u32,
}

/// A text that is no join token. It is not shown: it may hold most of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: a token is one line that begins with `{VERSION}.`; make one with `weft token create` on a member"
)]
pub struct NotAToken;

/// The one answer to every token that does not let its holder in: which of the reasons it is would help to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the join token is wrong, used up, expired or revoked: make a new one with `weft token create` on a member")]
pub struct TokenRefused;

impl Token {
    /// A new token for the CA with this hash, and the record of it. `uses`: for how many nodes, or any number.
    pub fn create(ca: CaHash, life: Duration, uses: Option<u32>, now: SystemTime) -> (Token, TokenRecord) {
        let token = Token { ca, id: TokenId(ca::random()), secret: Zeroizing::new(ca::random()) };
        let created = seconds(now);
        let record = TokenRecord {
            id: token.id,
            secret_sha256: token.secret_hash(),
            created,
            expires: created.saturating_add(life.as_secs()),
            uses,
            used: 0,
        };
        (token, record)
    }

    /// Whether the cluster that has this record of the token lets its holder in.
    pub fn check(&self, record: Option<&TokenRecord>, now: SystemTime) -> Result<(), TokenRefused> {
        let record = record.ok_or(TokenRefused)?;
        let hash = self.secret_hash();
        let right = constant_time::verify_slices_are_equal(hash.as_bytes(), record.secret_sha256.as_bytes()).is_ok();
        if right && record.id == self.id && record.is_open(now) { Ok(()) } else { Err(TokenRefused) }
    }

    /// Which token it is.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The CA that its holder trusts.
    pub fn ca(&self) -> CaHash {
        self.ca
    }

    fn secret_hash(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.secret[..]).as_ref())
    }
}

impl TokenRecord {
    /// Whether it still lets somebody in.
    pub fn is_open(&self, now: SystemTime) -> bool {
        seconds(now) < self.expires && self.uses.is_none_or(|uses| self.used < uses)
    }

    /// How many uses are left, if they are counted.
    pub fn uses_left(&self) -> Option<u32> {
        self.uses.map(|uses| uses.saturating_sub(self.used))
    }

    /// The value of the cluster's object.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain data")
    }

    /// Reads the value of a cluster's object.
    pub fn from_json(json: &[u8]) -> Result<TokenRecord, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.ca, self.id, hex::encode(&self.secret[..]))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    /// Reads a token. White space around it is not part of it: it comes from a file.
    fn from_str(text: &str) -> Result<Token, NotAToken> {
        let mut parts = text.trim().split('.');
        let mut part = || parts.next().ok_or(NotAToken);
        if part()? != VERSION {
            return Err(NotAToken);
        }
        let ca = part()?.parse().map_err(|_| NotAToken)?;
        let id = part()?.parse().map_err(|_| NotAToken)?;
        let secret = hex::decode(part()?).map_err(|_| NotAToken)?;
        if parts.next().is_some() {
            return Err(NotAToken);
        }
        Ok(Token { ca, id, secret: Zeroizing::new(secret) })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for TokenId {
    type Err = hex::NotHex;

    fn from_str(text: &str) -> Result<TokenId, hex::NotHex> {
        hex::decode(text).map(TokenId)
    }
}

impl TryFrom<String> for TokenId {
    type Error = hex::NotHex;

    fn try_from(text: String) -> Result<TokenId, hex::NotHex> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;
    const HOUR: Duration = Duration::from_secs(3600);

    fn make(uses: Option<u32>) -> (Token, TokenRecord) {
        Token::create(CaHash::of(b"ca"), HOUR, uses, NOW)
    }

    #[test]
    fn a_token_reads_as_it_is_written_and_hides_in_debug() {
        let (token, _) = make(None);
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        let secret = text.rsplit('.').next().unwrap();
        assert!(!format!("{token:?}").contains(&secret[..8]));
    }

    #[test]
    fn what_is_not_quite_a_token_is_refused_without_repeating_it() {
        let text = make(None).0.to_string();
        for bad in
            ["", "weft1", &text[1..], &text[..text.len() - 1], &format!("{text}."), &text.replace("weft1", "weft2")]
        {
            let error = bad.parse::<Token>().unwrap_err().to_string();
            assert!(bad.len() < 10 || !error.contains(&bad[bad.len() - 10..]), "{error}");
        }
    }

    #[test]
    fn the_right_secret_opens_within_its_terms_only() {
        let (token, mut record) = make(Some(2));
        assert_eq!(token.check(Some(&record), NOW), Ok(()));
        assert_eq!(token.check(Some(&record), NOW + HOUR), Err(TokenRefused));
        record.used = 2;
        assert_eq!(record.uses_left(), Some(0));
        assert_eq!(token.check(Some(&record), NOW), Err(TokenRefused));
        assert_eq!(token.check(None, NOW), Err(TokenRefused));
        let (_, other) = make(Some(2));
        assert_eq!(token.check(Some(&other), NOW), Err(TokenRefused));
    }

    #[test]
    fn another_secret_under_the_same_id_is_refused() {
        let (token, record) = make(None);
        let mut forged = token.clone();
        forged.secret[31] ^= 1;
        assert_eq!(forged.check(Some(&record), NOW), Err(TokenRefused));
    }

    #[test]
    fn the_record_holds_no_secret() {
        let (token, record) = make(Some(1));
        let json = record.to_json();
        assert_eq!(TokenRecord::from_json(&json).unwrap(), record);
        let secret = hex::encode(&token.secret[..]);
        assert!(!String::from_utf8(json).unwrap().contains(&secret));
    }
}
