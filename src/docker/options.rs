//! The options of `docker network create -d weft -o NAME=VALUE`.
//!
//! Those of `weft network create -o` are meant as there; the rest stand for flags that Docker's command line has not.
//! What is not known is refused by its name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Refused;
use super::wire::{ENABLE_IPV6, GENERIC, INTERNAL};

/// Docker's own name for the MTU of a network.
const DOCKER_MTU: &str = "com.docker.network.driver.mtu";

/// What the options of a request say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-o network=NAME`.
    pub network: Option<String>,
    /// `-o vni=N`.
    pub vni: Option<u32>,
    /// `-o mtu=BYTES`.
    pub mtu: Option<u32>,
    /// `-o remote=IP,IP`.
    pub remotes: Vec<String>,
    /// What `weft network create -o` takes.
    pub network_options: BTreeMap<String, String>,
    /// `--internal`.
    pub internal: bool,
    /// `--ipv6`.
    pub ipv6: bool,
    /// What the manager of a Swarm was answered: the network is one of the Swarm's, and whether it was made for that.
    pub swarm: Option<Swarm>,
}

/// Where a network of a Swarm comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swarm {
    /// It was made for the Swarm, and goes with its network.
    Made,
    /// It was there before.
    Bound,
}

/// The option that says so.
pub const SWARM: &str = "swarm";

impl Options {
    /// Reads the labels of CreateNetwork.
    pub fn parse(labels: &Map<String, Value>) -> Result<Options, Refused> {
        let mut options =
            Options { internal: label(labels, INTERNAL)?, ipv6: label(labels, ENABLE_IPV6)?, ..Options::default() };
        let generic = match labels.get(GENERIC) {
            None | Some(Value::Null) => return Ok(options),
            Some(Value::Object(generic)) => generic,
            Some(_) => return Err(Refused::new(format!("{GENERIC} is not a map of options"))),
        };
        for (name, value) in generic {
            let Value::String(value) = value else {
                return Err(Refused::new(format!("the option {} is not a text", shown(name))));
            };
            match name.as_str() {
                "network" => options.network = Some(value.clone()),
                "vni" => options.vni = Some(number("vni", value)?),
                "mtu" | DOCKER_MTU => options.mtu = Some(number("mtu", value)?),
                "remote" => options.remotes = value.split(',').map(|part| part.trim().to_owned()).collect(),
                SWARM if value == "made" => options.swarm = Some(Swarm::Made),
                SWARM if value == "bound" => options.swarm = Some(Swarm::Bound),
                "ageing" | "encrypted" | "plain" | "trust-macs" | "vlan" => {
                    options.network_options.insert(name.clone(), value.clone());
                }
                _ => {
                    return Err(Refused::new(format!(
                        "there is no option `{}`; the options are ageing, encrypted, mtu, network, plain, remote, \
                         trust-macs, vlan and vni",
                        shown(name)
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// A switch of the engine: Go's API sends a bool, its command line at times a text.
fn label(labels: &Map<String, Value>, name: &str) -> Result<bool, Refused> {
    match labels.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(_) => Err(Refused::new(format!("{name} is neither true nor false"))),
    }
}

fn number(name: &str, value: &str) -> Result<u32, Refused> {
    let refused = || Refused::new(format!("the option {name} cannot be `{}`: write a number", shown(value)));
    value.parse().map_err(|_| refused())
}

/// What a refusal repeats of a text: enough to recognise it, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(labels: Value) -> Result<Options, String> {
        Options::parse(labels.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_options_and_labels_are_read() {
        let labels = json!({
            GENERIC: {"network": "blue", "vni": "5000", "mtu": "1400", "plain": "", "remote": "192.0.2.2, 192.0.2.3"},
            INTERNAL: true, ENABLE_IPV6: "true", "com.docker.network.enable_ipv4": true, "other": 1,
        });
        let options = parse(labels).unwrap();
        assert_eq!((options.network.as_deref(), options.vni, options.mtu), (Some("blue"), Some(5000), Some(1400)));
        assert_eq!(options.remotes, ["192.0.2.2", "192.0.2.3"]);
        assert_eq!(options.network_options, BTreeMap::from([("plain".to_owned(), String::new())]));
        assert!(options.internal && options.ipv6);
        assert_eq!(parse(json!({ GENERIC: null })).unwrap(), Options::default());
        assert_eq!(parse(json!({ GENERIC: { SWARM: "bound" } })).unwrap().swarm, Some(Swarm::Bound));
        assert_eq!(parse(json!({ GENERIC: { DOCKER_MTU: "1300" } })).unwrap().mtu, Some(1300));
    }

    #[test]
    fn unknown_names_and_wrong_types_are_refused_by_name() {
        for (labels, expected) in [
            (json!({ GENERIC: {"vnii": "1"} }), "`vnii`"),
            (json!({ GENERIC: {"vni": 1} }), "vni"),
            (json!({ GENERIC: {"mtu": "big"} }), "`big`"),
            (json!({ GENERIC: {"swarm": "yes"} }), "`swarm`"),
            (json!({ GENERIC: [] }), GENERIC),
            (json!({ INTERNAL: 1 }), INTERNAL),
        ] {
            let refused = parse(labels).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        assert!(parse(json!({ GENERIC: {"x\n".repeat(5000): ""} })).unwrap_err().len() < 400);
    }
}
