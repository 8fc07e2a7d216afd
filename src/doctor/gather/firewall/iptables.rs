//! Rules as `iptables-save` and `ip6tables-save` write them.

use ipnet::IpNet;

use super::{Conditions, Firewall, Obstacle, Wanted, not_accepted};

/// What of a rule set is in the way.
pub(super) fn read(text: &str, wanted: &Wanted) -> Firewall {
    let (mut firewall, mut shut, mut accepting, mut table) = (Firewall::default(), false, Vec::new(), "");
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if table == "filter" && line.starts_with(":INPUT DROP") {
            shut = true;
        } else if let Some((chain, conditions, target)) = rule(line).filter(|(chain, ..)| *chain != "FORWARD") {
            match target {
                // As good as a policy.
                "DROP" | "REJECT" if table == "filter" && chain == "INPUT" && conditions.is_all() => shut = true,
                "DROP" | "REJECT" => {
                    if let Some(stops) = conditions.stops(wanted) {
                        firewall.in_the_way.push(Obstacle { rule: format!("iptables -t {table} {line}"), stops });
                    }
                }
                "ACCEPT" if table == "filter" && chain != "OUTPUT" => accepting.push(conditions),
                _ => {}
            }
        }
    }
    if shut {
        let rule = "iptables' chain INPUT".to_owned();
        let closed = not_accepted(&accepting, wanted).into_iter();
        firewall.closed = closed.map(|stops| Obstacle { rule: rule.clone(), stops }).collect();
    }
    firewall
}

/// Chain, conditions and target of a line that is a rule.
fn rule(line: &str) -> Option<(&str, Conditions, &str)> {
    let mut words = line.strip_prefix("-A ")?.split_whitespace();
    let chain = words.next()?;
    let (mut conditions, mut target) = (Conditions::default(), "");
    while let Some(word) = words.next() {
        match word {
            "-p" => conditions.protocol = words.next().map(str::to_owned),
            "--dport" | "--dports" => {
                let ranges = words.next()?.split(',');
                conditions.ports = Some(ranges.filter_map(range).collect());
            }
            "-s" | "-d" => conditions.others = Some(words.next()?.split(',').filter_map(net).collect()),
            "-m" | "--reject-with" | "--comment" => drop(words.next()),
            "-j" | "-g" => target = words.next()?,
            _ => conditions.narrow = true,
        }
    }
    Some((chain, conditions, target))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_rules(policy: &str, rules: &str) -> Firewall {
        let wanted = Wanted { udp: 4789, tcp: Some(7956), others: vec!["192.0.2.2".parse().unwrap()] };
        read(&format!("*filter\n:INPUT {policy} [0:0]\n:FORWARD DROP [0:0]\n{rules}\nCOMMIT\n"), &wanted)
    }

    #[test]
    fn rules_that_drop_a_port_or_a_peer_are_named_and_others_not() {
        for (rule, stops) in [
            ("-A INPUT -p udp -m udp --dport 4789 -j DROP", "UDP 4789"),
            ("-A OUTPUT -p udp -m multiport --dports 53,4000:5000 -j REJECT", "UDP 4789"),
            ("-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 7956 -j DROP", "TCP 7956 with 192.0.2.2"),
            ("-A INPUT -s 192.0.2.2/32 -j DROP", "all traffic with 192.0.2.2"),
        ] {
            let found = read_rules("ACCEPT", rule).in_the_way;
            assert_eq!(found.len(), 1, "{rule}");
            assert_eq!(found[0], Obstacle { rule: format!("iptables -t filter {rule}"), stops: stops.into() });
        }
        for harmless in [
            "-A INPUT -p tcp -m tcp --dport 4789 -j DROP",
            "-A FORWARD -p udp -m udp --dport 4789 -j DROP",
            "-A INPUT -s 192.0.2.3/32 -j DROP",
            "-A INPUT -m conntrack --ctstate INVALID -j DROP",
            "-A INPUT -p udp -m udp --dport 4789 -j ACCEPT",
        ] {
            assert_eq!(read_rules("ACCEPT", harmless).in_the_way, [], "{harmless}");
        }
    }

    #[test]
    fn a_closed_chain_must_accept_both_ports() {
        let stops = |rules: &str| {
            let closed = read_rules("DROP", rules).closed;
            closed.into_iter().map(|obstacle| obstacle.stops).collect::<Vec<_>>()
        };
        assert_eq!(stops("-A INPUT -i lo -j ACCEPT"), ["UDP 4789", "TCP 7956"]);
        assert_eq!(stops("-A INPUT -p udp -m udp --dport 4789 -j ACCEPT"), ["TCP 7956"]);
        assert!(stops("-A INPUT -s 192.0.2.0/24 -j ACCEPT").is_empty());
        assert!(read_rules("ACCEPT", "").closed.is_empty());
        let last =
            read_rules("ACCEPT", "-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited");
        assert_eq!(last.closed.len(), 2, "a last rule that refuses all");
    }
}
