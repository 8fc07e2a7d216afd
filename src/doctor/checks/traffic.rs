//! What the drop counters of the last minute say. A counter says what, not who: `weft stats` and a capture say more.

use super::super::facts::Daemon;
use super::super::{Finding, State};
use super::or_ok;

/// What drops for some reasons mean.
struct Symptom {
    check: &'static str,
    reasons: &'static [&'static str],
    state: State,
    meaning: &'static str,
    remedy: &'static str,
}

const SYMPTOMS: &[Symptom] = &[
    Symptom {
        check: "wrong-vni",
        reasons: &["unknown_vni"],
        state: State::Warn,
        meaning: "VXLAN frames of a network that this node does not have",
        remedy: "compare `weft network ls` with the VNI of the other end (`ip -d link` on a kernel's VTEP)",
    },
    Symptom {
        check: "wrong-mode",
        reasons: &["plain_on_sealed", "sealed_on_plain"],
        state: State::Fail,
        meaning: "frames in clear for a sealed network, or sealed ones for a plain network",
        remedy: "one end has the network in the other mode, or somebody forges frames: compare `weft network inspect`",
    },
    Symptom {
        check: "wrong-vtep",
        reasons: &["unknown_vtep", "not_member", "inner_source_foreign"],
        state: State::Warn,
        meaning: "frames of a VTEP that is no member or remote of the network, or of stations that are not behind it",
        remedy: "name it with --remote if it belongs there; otherwise somebody sends what is not theirs",
    },
    Symptom {
        check: "forgeries",
        reasons: &["bad_tag", "replay", "unknown_index", "wrong_lane", "not_vxlan", "outer_truncated"],
        state: State::Warn,
        meaning: "datagrams that nobody with keys has made, or made so long ago",
        remedy: "a peer that restarted causes a few; many mean that something on the underlay changes or repeats datagrams",
    },
    Symptom {
        check: "queues",
        reasons: &["receive_overflow", "tap_busy", "underlay_busy", "station_limit", "storm_limit"],
        state: State::Warn,
        meaning: "a queue was full: more came than was taken",
        remedy: "receive_overflow: the daemon is short of CPU; tap_busy: a container does not read; storm_limit: it floods",
    },
    Symptom {
        check: "waiting-for-keys",
        reasons: &["no_session", "key_exhausted"],
        state: State::Fail,
        meaning: "frames that found no keys",
        remedy: "the peer's control port cannot be reached: see the findings on sessions and control ports",
    },
    Symptom {
        check: "too-large",
        reasons: &["underlay_mtu", "oversize", "inner_oversize"],
        state: State::Warn,
        meaning: "packets that are larger than what the network or the underlay carries",
        remedy: "see the finding on the path's MTU; make the network anew with a smaller --mtu, or raise the underlay's",
    },
    Symptom {
        check: "unreachable",
        reasons: &["underlay_unreachable", "underlay_error"],
        state: State::Fail,
        meaning: "datagrams that the underlay has no way for",
        remedy: "look for the route and the host: `ip route get ADDRESS` for each VTEP of `weft fdb`",
    },
    Symptom {
        check: "devices",
        reasons: &["tap_down", "tap_error", "tap_truncated", "tap_offload"],
        state: State::Warn,
        meaning: "frames that an endpoint's device did not take",
        remedy: "an interface is down or gone: see the findings on endpoints",
    },
    Symptom {
        check: "foreign-macs",
        reasons: &["source_mac_foreign", "inner_source_local", "inner_source_invalid", "inner_vlan"],
        state: State::Warn,
        meaning: "frames whose source address or tag the network does not allow",
        remedy: "a bridge or virtual machines behind an endpoint need `-o trust-macs`, VLAN tags `-o vlan=keep`",
    },
];

/// The kernel of a new endpoint speaks (ND, listener reports) before every member has heard of it, or of its node's part in
/// the network: so many frames of each kind accuse nobody.
const OF_NEWCOMERS: ([&str; 2], u64) = (["inner_source_foreign", "not_member"], 5);

pub(super) fn check(daemon: &Daemon) -> Vec<Finding> {
    SYMPTOMS.iter().flat_map(|symptom| judge(symptom, daemon)).collect()
}

fn judge(symptom: &Symptom, daemon: &Daemon) -> Vec<Finding> {
    let Symptom { check, reasons, state, meaning, remedy } = *symptom;
    let counted = reasons.iter().filter_map(|reason| Some((*reason, *daemon.recent_drops.get(*reason)?)));
    let (newcomers, usual) = OF_NEWCOMERS;
    let telling = counted.filter(|(reason, count)| !newcomers.contains(reason) || *count > usual);
    let counts: Vec<_> = telling.map(|(reason, count)| format!("{reason} {count}")).collect();
    let window = daemon.window_seconds.max(1);
    let found = (!counts.is_empty()).then(|| Finding {
        check,
        state,
        about: None,
        seen: format!("in the last {window} s {meaning} ({})", counts.join(", ")),
        remedy: remedy.to_owned(),
    });
    or_ok(found.into_iter().collect(), check, format!("none in the last {window} s"))
}

#[cfg(test)]
mod tests {
    use weft_vtep::drops::DropReason;

    use super::*;

    #[test]
    fn every_symptom_s_reasons_are_drop_reasons_and_none_stands_twice() {
        let mut all: Vec<_> = SYMPTOMS.iter().flat_map(|symptom| symptom.reasons.iter().copied()).collect();
        for reason in &all {
            assert!(DropReason::ALL.iter().any(|known| known.name() == *reason), "{reason}");
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
