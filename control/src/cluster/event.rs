//! What a person should hear of: one line each.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use weft_vtep::addr::{Mac, Vni};

use crate::id::NodeId;

/// A node as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The node.
    pub node: NodeId,
    /// Its name, where it is known.
    pub name: Option<String>,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.node),
            None => write!(f, "{}", self.node),
        }
    }
}

/// What happened in the cluster, as this node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node is new here, or back after it had left.
    Joined(Who),
    /// A node began another life.
    Restarted(Who),
    /// A node answers no probe.
    Suspected(Who),
    /// It was suspected, and answers.
    Cleared(Who),
    /// It did not answer in time.
    Dead(Who),
    /// It was dead, and is back in the same life.
    Returned(Who),
    /// It said goodbye.
    Left(Who),
    /// It was removed for good.
    Evicted(Who),
    /// This node was removed for good by the others.
    EvictedHere,
    /// The others had given this node up; it is back.
    ReturnedHere,
    /// This node did nothing for so long: it was stopped, starved, or the machine slept.
    Paused(Duration),
    /// Others have records of this node that it did not write: two daemons run with one identity, or its state
    /// directory was put back to an older one. It goes on in a new life.
    Usurped {
        /// The life that it took.
        incarnation: u64,
    },
    /// A node speaks other versions of the protocol.
    Incompatible {
        /// Who.
        who: Who,
        /// The range that it speaks.
        theirs: (u32, u32),
        /// The range that this node speaks.
        ours: (u32, u32),
    },
    /// A node said what it has no right to say, or what nobody can read. Told once a minute for each node.
    Refused {
        /// Who.
        who: Who,
        /// What was wrong.
        reason: String,
    },
    /// A clock is wrong, or right again.
    Clock {
        /// Whose; `None`: this node's.
        who: Option<Who>,
        /// By how many milliseconds it is ahead of most others'; `None`: it is right again.
        ahead_ms: Option<i64>,
    },
    /// A MAC address moved too often (RFC 7432 section 15.1).
    MacFrozen {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
        /// Where it stays.
        owner: Who,
    },
    /// A frozen MAC address may move again.
    MacThawed {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
    },
    /// Several nodes have a station with the same MAC address.
    DuplicateMac {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
        /// Who; frames go to the first.
        nodes: Vec<Who>,
    },
    /// Several stations have the same IP address.
    DuplicateIp {
        /// The network.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// Which, and where; the first is the one that is answered for.
        holders: Vec<(Mac, Who)>,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Joined(who) => write!(f, "node {who} joined"),
            Event::Restarted(who) => write!(f, "node {who} restarted"),
            Event::Suspected(who) => write!(f, "node {who} does not answer: it is suspected to be dead"),
            Event::Cleared(who) => write!(f, "node {who} answers again"),
            Event::Dead(who) => write!(f, "node {who} is dead: it gets no flooded frames any more"),
            Event::Returned(who) => write!(f, "node {who} is back"),
            Event::Left(who) => write!(f, "node {who} left the cluster"),
            Event::Evicted(who) => write!(f, "node {who} was removed from the cluster for good"),
            Event::EvictedHere => f.write_str(
                "this node was removed from the cluster for good: empty its state directory and join anew to use it again",
            ),
            Event::ReturnedHere => f.write_str("the others had given this node up; it is back"),
            Event::Paused(pause) => write!(
                f,
                "this node did nothing for {:.1} s (stopped, starved, or asleep); it judges others more slowly for a while",
                pause.as_secs_f64()
            ),
            Event::Usurped { incarnation } => write!(
                f,
                "the cluster holds records of this node that it did not write: look for a second daemon with this node's \
                 identity, a state directory that was put back, or a member that lies; it goes on as incarnation {incarnation}"
            ),
            Event::Incompatible { who, theirs, ours } => write!(
                f,
                "node {who} speaks versions {} to {} of the protocol, this node {} to {}: upgrade the older one",
                theirs.0, theirs.1, ours.0, ours.1
            ),
            Event::Refused { who, reason } => write!(f, "refused what node {who} said: {reason}"),
            Event::Clock { who, ahead_ms } => {
                match who {
                    Some(who) => write!(f, "the clock of node {who} ")?,
                    None => f.write_str("this node's clock ")?,
                }
                let Some(ahead) = *ahead_ms else { return f.write_str("is right again") };
                let (seconds, way) = (ahead.unsigned_abs() / 1000, if ahead > 0 { "ahead of" } else { "behind" });
                write!(
                    f,
                    "is {seconds} s {way} the others': frames flow on, but certificates begin and end by it, and of two \
                     changes the later one counts; set it with chrony or systemd-timesyncd"
                )
            }
            Event::MacFrozen { vni, mac, owner } => write!(
                f,
                "MAC address {mac} of VNI {vni} moves too often: it stays at node {owner} until it was quiet for 180 s; \
                 look for two containers with this address"
            ),
            Event::MacThawed { vni, mac } => write!(f, "MAC address {mac} of VNI {vni} may move again"),
            Event::DuplicateMac { vni, mac, nodes } => {
                write!(f, "MAC address {mac} of VNI {vni} is at several nodes, frames go to the first: ")?;
                list(f, nodes.iter())
            }
            Event::DuplicateIp { vni, ip, holders } => {
                write!(f, "IP address {ip} of VNI {vni} is at several stations, the first is answered for: ")?;
                list(f, holders.iter().map(|(mac, who)| format!("{mac} at {who}")))
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line() {
        let who = |n: u64, name: &str| Who { node: NodeId(n), name: Some(name.to_owned()) };
        let vni = Vni::new(4096).unwrap();
        let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        let events = [
            Event::Dead(who(1, "a")),
            Event::EvictedHere,
            Event::Paused(Duration::from_millis(2500)),
            Event::Usurped { incarnation: 9 },
            Event::Incompatible { who: who(1, "a"), theirs: (2, 3), ours: (1, 1) },
            Event::MacFrozen { vni, mac, owner: who(1, "a") },
            Event::Clock { who: None, ahead_ms: Some(-3_600_000) },
            Event::Clock { who: Some(who(1, "a")), ahead_ms: None },
            Event::DuplicateMac { vni, mac, nodes: vec![who(1, "a"), who(2, "b")] },
        ];
        for event in &events {
            assert!(!event.to_string().contains(['\n', '\r']) && !event.to_string().contains("  "), "{event}");
        }
        assert!(events[8].to_string().ends_with("a (0000000000000001), b (0000000000000002)"), "{}", events[8]);
    }
}
