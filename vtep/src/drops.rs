//! Why a frame ends: one reason per refusal, one counter per reason.
//!
//! On the packet path an error is a [`DropReason`]: an index, never a text and never an allocation.
//! Every reason is always listed by `weft stats`, at zero too, so that a dashboard can be made before the fault.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame or datagram was not forwarded.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),+];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name under which `weft stats` and the metrics show the reason.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),+ }
            }
        }
    };
}

drop_reasons! {
    // From the wire (decapsulation), in the order of the checks.
    /// The datagram is too short for the header that its first byte announces.
    OuterTruncated = "outer_truncated",
    /// Neither a VXLAN header with the I flag (RFC 7348 section 5) nor a sealed datagram.
    NotVxlan = "not_vxlan",
    /// A sealed datagram whose receiver index names no session of this process.
    UnknownIndex = "unknown_index",
    /// A sealed datagram of a lane that its session does not have, or that another worker serves.
    WrongLane = "wrong_lane",
    /// A sealed datagram that came before, or is older than its lane's window.
    Replay = "replay",
    /// A sealed datagram that its session's peer did not make, or not like this.
    BadTag = "bad_tag",
    /// A session has sealed or refused as many datagrams as its keys are good for.
    KeyExhausted = "key_exhausted",
    /// An opened control message of a kind that this version does not know.
    BadControl = "bad_control",
    /// The VNI is zero or names no network of this node.
    UnknownVni = "unknown_vni",
    /// A plain frame for a sealed network.
    PlainOnSealed = "plain_on_sealed",
    /// A sealed frame for a plain network.
    SealedOnPlain = "sealed_on_plain",
    /// A sealed frame of a peer that is no member of the network.
    NotMember = "not_member",
    /// The outer source address is not a VTEP of the network.
    UnknownVtep = "unknown_vtep",
    /// The inner frame is shorter than an Ethernet header.
    InnerTruncated = "inner_truncated",
    /// The inner source address is a group address or zero.
    InnerSourceInvalid = "inner_source_invalid",
    /// The inner frame carries a VLAN tag and the network does not allow it (RFC 7348 section 6.1).
    InnerVlan = "inner_vlan",
    /// A frame larger than the MTU that no offload explains.
    InnerOversize = "inner_oversize",
    /// The outer header says congestion experienced, the inner cannot carry it (RFC 6040 section 4.2).
    EcnNotCapable = "ecn_not_capable",
    /// The inner source address is a local endpoint's: a loop, or somebody pretends.
    InnerSourceLocal = "inner_source_local",
    /// The control plane knows the inner source address elsewhere than behind the VTEP that sent the frame, or not at all.
    InnerSourceForeign = "inner_source_foreign",
    /// A unicast frame from a VTEP for a station that is not here: it never goes back into a tunnel.
    NotHere = "not_here",

    // From an endpoint (encapsulation), in the order of the checks.
    /// The device handed over less than an offload header and an Ethernet header.
    TapTruncated = "tap_truncated",
    /// The offload header asks for something that the frame does not bear out.
    TapOffload = "tap_offload",
    /// The source address is not the endpoint's (allow it with `-o trust-macs`).
    SourceMacForeign = "source_mac_foreign",
    /// The endpoint speaks for more stations than the network holds, or for new ones faster than they can be announced.
    StationLimit = "station_limit",
    /// The packet is larger than the network's MTU; the sender was told (ICMP) where its protocol allows.
    Oversize = "oversize",
    /// No port or VTEP is known for the destination, and nobody may be asked.
    UnknownUnicast = "unknown_unicast",
    /// A group frame in a network with no other port and no other VTEP.
    NoReceiver = "no_receiver",
    /// Broadcast, unknown-unicast or multicast frames above the port's rate.
    StormLimit = "storm_limit",
    /// No session to the VTEP yet, and the queue of frames that wait for it is full, or they waited too long.
    NoSession = "no_session",

    // At the edges.
    /// The kernel refused the datagram: it is larger than the underlay's path MTU.
    UnderlayMtu = "underlay_mtu",
    /// The kernel had no route to the VTEP, or the VTEP's host answered that it is not reachable.
    UnderlayUnreachable = "underlay_unreachable",
    /// The socket's send buffer stayed full.
    UnderlayBusy = "underlay_busy",
    /// Sending failed for another reason.
    UnderlayError = "underlay_error",
    /// The endpoint's device did not take the frame: it is down or gone.
    TapDown = "tap_down",
    /// The endpoint's device had no room.
    TapBusy = "tap_busy",
    /// The device refused the frame for another reason.
    TapError = "tap_error",
    /// The kernel's receive queue of the VXLAN socket overflowed.
    ReceiveOverflow = "receive_overflow",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_its_own_index_and_has_its_own_name() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
