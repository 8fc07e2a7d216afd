//! Rules as `nft -j list ruleset` writes them (libnftables-json(5)).

use ipnet::IpNet;
use serde_json::Value;

use super::{Conditions, Firewall, Obstacle, Wanted, not_accepted};

/// Tables that iptables has made: their rules are read in its own words, since nft may not know all of them.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// What of a rule set is in the way.
pub(super) fn read(json: &str, wanted: &Wanted, by_iptables: bool) -> Firewall {
    let Ok(document) = serde_json::from_str::<Value>(json) else {
        return Firewall { unread: Some("nft wrote what is no JSON".to_owned()), ..Firewall::default() };
    };
    let all: Vec<_> = document["nftables"].as_array().into_iter().flatten().collect();
    let foreign = |item: &Value| {
        let family = item["family"].as_str().unwrap_or_default();
        let name = item["table"].as_str().unwrap_or_default();
        by_iptables && ["ip", "ip6"].contains(&family) && OF_IPTABLES.contains(&name)
    };
    let chains: Vec<_> = all.iter().filter_map(|item| item.get("chain")).filter(|chain| !foreign(chain)).collect();
    let rules: Vec<_> = all.iter().filter_map(|item| item.get("rule")).filter(|rule| !foreign(rule)).collect();
    let refuses = |rule: &Value| expressions(rule).any(|one| one.get("drop").is_some() || one.get("reject").is_some());
    let mut firewall = Firewall::default();
    for rule in &rules {
        let forward = chains.iter().any(|chain| is_of(rule, chain) && chain["hook"] == "forward");
        if forward || !refuses(rule) {
            continue;
        }
        if let Some(stops) = conditions(rule).stops(wanted) {
            firewall.in_the_way.push(Obstacle { rule: text(rule), stops });
        }
    }
    // A last rule that refuses all is as good as a policy.
    let refuses_all = |chain: &Value| rules.iter().any(|r| is_of(r, chain) && refuses(r) && conditions(r).is_all());
    let shut = |chain: &&&Value| chain["hook"] == "input" && (chain["policy"] == "drop" || refuses_all(chain));
    for chain in chains.iter().filter(shut) {
        let beside = |rule: &&&Value| rule["table"] == chain["table"] && rule["family"] == chain["family"];
        let accepts = |rule: &&&Value| expressions(rule).any(|expression| expression.get("accept").is_some());
        let accepting: Vec<_> = rules.iter().filter(beside).filter(accepts).map(|rule| conditions(rule)).collect();
        for stops in not_accepted(&accepting, wanted) {
            let rule = format!("the chain {} of the table {}", word(&chain["name"]), word(&chain["table"]));
            firewall.closed.push(Obstacle { rule, stops });
        }
    }
    firewall
}

fn is_of(rule: &Value, chain: &Value) -> bool {
    rule["chain"] == chain["name"] && rule["table"] == chain["table"] && rule["family"] == chain["family"]
}

fn expressions(rule: &Value) -> impl Iterator<Item = &Value> {
    rule["expr"].as_array().into_iter().flatten()
}

fn conditions(rule: &Value) -> Conditions {
    let neutral = ["match", "counter", "log", "accept", "drop", "reject"];
    let other = |one: &Value| one.as_object().is_some_and(|one| one.keys().any(|key| !neutral.contains(&key.as_str())));
    let mut conditions = Conditions { narrow: expressions(rule).any(other), ..Conditions::default() };
    for one in expressions(rule).filter_map(|expression| expression.get("match")) {
        let (payload, meta) = (&one["left"]["payload"], &one["left"]["meta"]["key"]);
        let protocol = payload["protocol"].as_str().unwrap_or_default();
        match (protocol, payload["field"].as_str().unwrap_or_default(), meta.as_str()) {
            _ if one["op"] == "!=" => conditions.narrow = true,
            ("udp" | "tcp" | "th", "dport", _) => {
                conditions.ports = Some(values(&one["right"]).into_iter().filter_map(range).collect());
                if protocol != "th" {
                    conditions.protocol = Some(protocol.to_owned());
                }
            }
            ("ip" | "ip6", "saddr" | "daddr", _) => {
                conditions.others = Some(values(&one["right"]).into_iter().filter_map(net).collect());
            }
            (_, _, Some("l4proto")) | ("ip", "protocol", _) | ("ip6", "nexthdr", _) => {
                conditions.protocol = one["right"].as_str().map(str::to_owned);
            }
            _ => conditions.narrow = true,
        }
    }
    conditions
}

/// The elements of a set, or the one value.
fn values(right: &Value) -> Vec<&Value> {
    match right.get("set").and_then(Value::as_array) {
        Some(set) => set.iter().collect(),
        None => vec![right],
    }
}

fn range(value: &Value) -> Option<(u16, u16)> {
    let port = |value: &Value| value.as_u64()?.try_into().ok();
    match value["range"].as_array() {
        Some(ends) => Some((port(ends.first()?)?, port(ends.get(1)?)?)),
        None => port(value).map(|port| (port, port)),
    }
}

fn net(value: &Value) -> Option<IpNet> {
    if let Some(prefix) = value.get("prefix") {
        let address = prefix["addr"].as_str()?.parse().ok()?;
        return IpNet::new(address, prefix["len"].as_u64()?.try_into().ok()?).ok();
    }
    let address: std::net::IpAddr = value.as_str()?.parse().ok()?;
    Some(address.into())
}

/// The rule much as nft writes it.
fn text(rule: &Value) -> String {
    let mut words = vec![word(&rule["family"]), word(&rule["table"]), word(&rule["chain"])];
    for expression in expressions(rule) {
        if let Some(one) = expression.get("match") {
            let left = &one["left"];
            let key = match left["payload"]["field"].as_str() {
                Some(field) => format!("{} {field}", word(&left["payload"]["protocol"])),
                None => word(&left["meta"]["key"]),
            };
            let op = match one["op"].as_str() {
                Some("==") | None => String::new(),
                Some(op) => format!("{op} "),
            };
            words.push(format!("{key} {op}{}", word(&one["right"])));
        } else if let Some(name) = expression.as_object().and_then(|object| object.keys().next()) {
            words.push(name.clone());
        }
    }
    let handle = rule["handle"].as_u64().map(|handle| format!("(handle {handle})"));
    words.extend(handle);
    words.join(" ")
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_rules(chain: &str, rules: &[&str]) -> Firewall {
        let head = r#"{"family":"inet","table":"t","chain":"in","handle":4,"expr""#;
        let rules: Vec<_> = rules.iter().map(|rule| format!("{{\"rule\":{head}:[{rule}]}}}}")).collect();
        let json = format!(r#"{{"nftables":[{{"metainfo":{{}}}},{{"chain":{chain}}},{}]}}"#, rules.join(","));
        serde_json::from_str::<Value>(&json).unwrap();
        let wanted = Wanted { udp: 4789, tcp: Some(7956), others: vec!["192.0.2.2".parse().unwrap()] };
        read(&json, &wanted, false)
    }

    const OPEN: &str = r#"{"family":"inet","table":"t","name":"in","hook":"input","policy":"accept"}"#;
    const SHUT: &str = r#"{"family":"inet","table":"t","name":"in","hook":"input","policy":"drop"}"#;

    fn dport(protocol: &str, right: &str) -> String {
        format!(
            r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"{protocol}","field":"dport"}}}},"right":{right}}}}}"#
        )
    }

    #[test]
    fn rules_that_drop_a_port_or_a_peer_are_named_and_others_not() {
        let stopped = |rule: String| read_rules(OPEN, &[&rule]).in_the_way.pop();
        for right in ["4789", r#"{"set":[53,4789]}"#, r#"{"range":[4000,5000]}"#, r#"{"set":[{"range":[4700,4800]}]}"#]
        {
            let found = stopped(dport("udp", right) + r#",{"counter":{}},{"drop":null}"#).unwrap();
            assert_eq!(found.stops, "UDP 4789", "{right}");
            assert!(
                found.rule.starts_with("inet t in udp dport ") && found.rule.ends_with("drop (handle 4)"),
                "{found:?}"
            );
        }
        assert_eq!(stopped(dport("tcp", "7956") + r#",{"reject":null}"#).unwrap().stops, "TCP 7956");
        let peer = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.2"}},{"drop":null}"#;
        assert_eq!(stopped(peer.to_owned()).unwrap().stops, "all traffic with 192.0.2.2");
        for harmless in [
            dport("udp", "53") + r#",{"drop":null}"#,
            dport("tcp", "4789") + r#",{"drop":null}"#,
            dport("udp", "4789") + r#",{"accept":null}"#,
            peer.replace("192.0.2.2", "192.0.2.3"),
            format!("{},{}", dport("tcp", "22"), peer),
            r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}},{"drop":null}"#.to_owned(),
        ] {
            assert_eq!(stopped(harmless.clone()), None, "{harmless}");
        }
    }

    #[test]
    fn a_chain_that_drops_all_else_must_accept_both_ports() {
        let stops = |rules: &[&str]| {
            let closed = read_rules(SHUT, rules).closed;
            closed.into_iter().map(|obstacle| obstacle.stops).collect::<Vec<_>>()
        };
        let accept = |protocol, port| dport(protocol, port) + r#",{"accept":null}"#;
        let established =
            r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"established"}},{"accept":null}"#;
        assert_eq!(stops(&[established]), ["UDP 4789", "TCP 7956"]);
        assert_eq!(stops(&[established, &accept("udp", "4789")]), ["TCP 7956"]);
        assert!(stops(&[&accept("th", r#"{"set":[4789,7956]}"#)]).is_empty());
        let subnet = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"192.0.2.0","len":24}}}},{"accept":null}"#;
        assert!(stops(&[subnet]).is_empty());
        assert!(read_rules(OPEN, &[established]).closed.is_empty());
        let last = r#"{"counter":{}},{"reject":{"type":"icmpx"}}"#;
        assert_eq!(read_rules(OPEN, &[established, last]).closed.len(), 2, "a last rule that refuses all");
        let limited = r#"{"limit":{"rate":1}},{"drop":null}"#;
        assert!(read_rules(OPEN, &[limited]).closed.is_empty());
    }
}
