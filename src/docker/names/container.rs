//! What the engine calls its containers, as its API has it.
//!
//! In: the engine's list of running containers, which does not have their aliases, and its description of one, which
//! has. Out: the names of each endpoint, as far as they can be asked for by DNS.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::wire::nullable;
use super::is_plain;

/// The most names of one endpoint. Docker sets no limit; each costs a record on every node.
const NAMES: usize = 64;

/// A container of `/containers/json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) id: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    network_settings: Settings,
}

/// A container of `/containers/ID/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    network_settings: Settings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    #[serde(deserialize_with = "nullable")]
    networks: BTreeMap<String, Attached>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attached {
    #[serde(rename = "EndpointID", deserialize_with = "nullable")]
    endpoint: String,
    #[serde(deserialize_with = "nullable")]
    aliases: Vec<String>,
    /// From Docker 25 on: all names, whoever gave them.
    #[serde(rename = "DNSNames", deserialize_with = "nullable")]
    dns_names: Vec<String>,
}

impl Listed {
    /// What tells that its names have to be asked for anew: what it is called, and which endpoints it has.
    pub(super) fn mark(&self) -> Mark {
        let networks = self.network_settings.networks.values();
        Mark { names: self.names.clone(), endpoints: networks.map(|attached| attached.endpoint.clone()).collect() }
    }
}

/// See [`Listed::mark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    names: Vec<String>,
    pub(super) endpoints: BTreeSet<String>,
}

impl Inspected {
    /// The names of its endpoints: its own, those it was given on that network, and the beginning of its id.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, BTreeSet<String>)> {
        self.network_settings.networks.values().filter(|attached| !attached.endpoint.is_empty()).map(|attached| {
            let own = [self.name.trim_start_matches('/'), self.id.get(..12).unwrap_or_default()];
            let given = attached.aliases.iter().chain(&attached.dns_names).map(String::as_str);
            (attached.endpoint.as_str(), own.into_iter().chain(given).filter_map(name).take(NAMES).collect())
        })
    }
}

/// A name as it is looked up: written small. `None` if nobody can ask for it (RFC 1035 section 2.3.4).
fn name(text: &str) -> Option<String> {
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_plain);
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_has_its_name_its_aliases_and_its_short_id() {
        let described = json!({
            "Id": ID, "Name": "/Left", "NetworkSettings": { "Networks": {
                "blue": { "EndpointID": "e1", "Aliases": ["Web", "www.example", "0123456789ab", "no good", ""] },
                "new": { "EndpointID": "e2", "Aliases": null, "DNSNames": ["left", "app"] },
                "none": { "EndpointID": "", "Aliases": ["nowhere"] },
            } },
        });
        let container: Inspected = serde_json::from_value(described).unwrap();
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let named: Vec<_> = container.names().collect();
        assert_eq!(
            named,
            [
                ("e1", set(&["0123456789ab", "left", "web", "www.example"])),
                ("e2", set(&["0123456789ab", "app", "left"]))
            ]
        );
    }

    #[test]
    fn names_are_bounded() {
        let aliases: Vec<_> = (0..1000).map(|n| format!("alias-{n}")).collect();
        let described = json!({
            "Id": ID, "Name": "/zoo",
            "NetworkSettings": { "Networks": { "blue": { "EndpointID": "e", "Aliases": aliases } } },
        });
        let container: Inspected = serde_json::from_value(described).unwrap();
        let (_, names) = container.names().next().unwrap();
        assert!(names.len() <= NAMES && names.contains("zoo"), "{names:?}");
        for bad in ["", ".", "a..b", "-\u{e4}", "a b", "a\0", &"x".repeat(64), &"x.".repeat(130)] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_empty() {
        let listed: Listed =
            serde_json::from_value(json!({ "Id": ID, "Names": null, "NetworkSettings": null })).unwrap();
        assert!(listed.mark().endpoints.is_empty());
        let inspected: Inspected = serde_json::from_value(json!({ "Id": "x" })).unwrap();
        assert_eq!(inspected.names().count(), 0);
    }
}
