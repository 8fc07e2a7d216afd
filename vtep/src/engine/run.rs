//! Runs: what was decided of a segment of a bulk flow holds for the next one, too.
//!
//! A batch brings tens of segments of one TCP flow in a row, and all that the engine looks at is the same in each: VXLAN
//! header, addresses, lengths, where they came from. Then no table has to be asked again. What differs from segment to
//! segment is what no decision depends on: IPv4's identification and its checksum, TCP's numbers, window, checksum and
//! options; the flags only where a handshake's MSS is clamped, and those are never part of a run.

use super::{Decapsulated, Forward, Source};
use crate::drops::DropReason;
use crate::engine::watch::Watch;
use crate::engine::{Engine, Now};
use crate::frame::{ETH_LEN, Network, Transport};
use crate::switch::view::View;
use crate::wire::vxlan;

/// Where the inner network header is: a run has no VLAN tag.
const L3: usize = vxlan::LEN + ETH_LEN;
/// Where the TCP header is: a run has no IPv4 options and no IPv6 extension headers.
const L4: [usize; 2] = [L3 + 20, L3 + 40];
/// Ports of a TCP header, and where its data offset and flags are.
const PORTS: usize = 4;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const SYN: u8 = 0x02;
/// Up to the data offset of TCP over IPv6.
const HEAD: usize = L4[1] + DATA_OFFSET + 1;

/// A decision that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    head: [u8; HEAD],
    len: usize,
    source: Source,
    tos: u8,
    decapsulated: Decapsulated,
}

impl Run {
    /// The run that begins with this TCP segment, as the engine has left it; `None` if nothing can follow it unseen.
    #[inline(never)] // else every datagram pays for the room that this takes
    fn begin<D>(view: &View<D>, datagram: &[u8], source: Source, tos: u8, decapsulated: Decapsulated) -> Option<Run> {
        let layout = &decapsulated.layout;
        let l4 = match layout.network {
            Network::V4 => L4[0],
            Network::V6 => L4[1],
            Network::Other => return None,
        };
        let plain = vxlan::LEN + layout.l3 == L3 && vxlan::LEN + layout.l4 == l4;
        if !plain || !matches!(decapsulated.forward, Forward::Port(_)) || datagram[l4 + FLAGS] & SYN != 0 {
            return None;
        }
        // One that is larger than the MTU was let through for its checksum, which the next one may not have.
        let mtu = view.segments.get(&decapsulated.vni)?.spec.mtu;
        if datagram.len() - L3 > usize::from(mtu) {
            return None;
        }
        let mut head = [0; HEAD];
        let known = l4 + DATA_OFFSET + 1;
        head[..known].copy_from_slice(&datagram[..known]);
        Some(Run { head, len: datagram.len(), source, tos, decapsulated })
    }

    /// True when all that a decision depends on is as it was.
    ///
    /// The marks of congestion are as well: the head is that of the inner packet after its mark was set, and with the
    /// same outer mark RFC 6040 leaves it as it is.
    #[inline]
    fn goes_on(&self, datagram: &[u8], source: Source, tos: u8) -> bool {
        if (datagram.len(), tos) != (self.len, self.tos) || source != self.source {
            return false;
        }
        let head = &self.head;
        let same = |from: usize, to: usize| head[from..to] == datagram[from..to];
        let l4 = match self.decapsulated.layout.network {
            Network::V4 => {
                // All but identification and checksum (RFC 791 section 3.1).
                if !(same(0, L3 + 4) && same(L3 + 6, L3 + 10) && same(L3 + 12, L4[0] + PORTS)) {
                    return false;
                }
                L4[0]
            }
            _ => {
                if !same(0, L4[1] + PORTS) {
                    return false;
                }
                L4[1]
            }
        };
        head[l4 + DATA_OFFSET] == datagram[l4 + DATA_OFFSET] && datagram[l4 + FLAGS] & SYN == 0
    }
}

impl<W: Watch> Engine<W> {
    /// As [`Engine::from_wire`], for datagrams of one batch: what was decided of the one before is asked first. True where
    /// it holds for this one, too.
    ///
    /// `run` is nothing at the start of a batch, since tables may have changed.
    ///
    /// # Errors
    /// As [`Engine::from_wire`].
    #[inline]
    pub fn follow<D>(
        &mut self,
        run: &mut Option<Run>,
        view: &View<D>,
        datagram: &mut [u8],
        source: Source,
        tos: u8,
        now: Now,
    ) -> Result<(Decapsulated, bool), DropReason> {
        if let Some(run) = run
            && run.goes_on(datagram, source, tos)
        {
            return Ok((run.decapsulated, true));
        }
        // Whatever this one is, it may change what holds: a station that moves, a table that is full.
        *run = None;
        let unlearned = self.unlearned;
        let decapsulated = self.from_wire(view, datagram, source, tos, now)?;
        if decapsulated.layout.transport == Transport::Tcp && self.unlearned == unlearned {
            *run = Run::begin(view, datagram, source, tos, decapsulated);
        }
        Ok((decapsulated, false))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::addr::{Mac, PortId, Vni};
    use crate::switch::NetworkSpec;
    use crate::switch::view::{Port, Segment};

    const HERE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const MTU: u16 = 300;

    fn vtep(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    /// Network 1 learns; network 2 does as well, and has room for one station; network 3 is sealed.
    fn view() -> View<()> {
        let mut view = View::default();
        for (number, cap, sealed) in [(1, 100, false), (2, 1, false), (3, 100, true)] {
            let remotes = vec![vtep(1), vtep(2)];
            let spec = NetworkSpec { remotes, fdb_cap: cap, sealed, ..NetworkSpec::new(vni(number), MTU) };
            let mut segment = Segment::new(spec, 7);
            let port = Arc::new(Port::new(PortId(number), vni(number), HERE, ()));
            segment.fdb.set_local(HERE, port.id);
            segment.ports.push(port.clone());
            view.ports.insert(port.id, port);
            view.segments.insert(vni(number), segment);
        }
        view
    }

    /// A segment of flow `flow`, over IPv4 or IPv6, from one of two stations.
    fn segment(flow: u8, seq: u32, len: usize, id: u16) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2([2, 0, 0, 0, 9, flow / 2 % 2], HERE.octets());
        let ports = (1000 + u16::from(flow / 4), 80);
        let mut frame = Vec::new();
        let payload = vec![id as u8; len];
        if flow.is_multiple_of(2) {
            let mut ip =
                etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
            ip.identification = id;
            ip.dont_fragment = true;
            let builder = eth.ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()));
            builder.tcp(ports.0, ports.1, seq, 500).ack(u32::from(id)).write(&mut frame, &payload).unwrap();
        } else {
            let builder = eth.ipv6([0xfd; 16], [0xfe; 16], 64).tcp(ports.0, ports.1, seq, 500).ack(u32::from(id));
            builder.write(&mut frame, &payload).unwrap();
        }
        frame
    }

    /// What happens to one datagram of a sequence.
    #[derive(Clone, Debug)]
    struct Sent {
        network: u32,
        flow: u8,
        len: usize,
        from: u8,
        tos: u8,
        sealed: bool,
        flip: Option<(usize, u8)>,
        cut: Option<usize>,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        // Mostly the same, as in a run: what differs is rare, so that there is something for it to break.
        let network = prop_oneof![8 => Just(1u32), 2 => Just(2), 1 => Just(3), 1 => Just(4)];
        let flow = prop_oneof![6 => Just(0u8), 3 => Just(1), 1 => 0u8..8];
        let len = prop_oneof![6 => Just(100usize), 1 => 0usize..400];
        let from = prop_oneof![8 => Just(1u8), 1 => Just(2), 1 => Just(3)];
        let tos = prop_oneof![6 => Just(0u8), 1 => 0u8..8];
        let flip = prop_oneof![6 => Just(None), 3 => (0usize..90, 0u8..8).prop_map(Some)];
        let cut = prop_oneof![12 => Just(None), 1 => (0usize..120).prop_map(Some)];
        (network, flow, len, from, tos, prop::bool::weighted(0.1), flip, cut).prop_map(
            |(network, flow, len, from, tos, sealed, flip, cut)| Sent {
                network,
                flow,
                len,
                from,
                tos,
                sealed,
                flip,
                cut,
            },
        )
    }

    proptest! {
        /// Datagram by datagram, what is decided in a run is what is decided without one: the same ends, the same bytes,
        /// the same tables.
        #[test]
        fn a_run_changes_nothing_but_the_work(batch in prop::collection::vec(sent(), 1..60)) {
            let (with, without) = (view(), view());
            let (mut runner, mut walker) = (Engine::new(1), Engine::new(1));
            let (mut run, now) = (None, Now { ns: 5, s: 1 });
            for (n, sent) in batch.iter().enumerate() {
                let frame = segment(sent.flow, 100 * n as u32, sent.len, n as u16);
                let mut datagram = [&vxlan::header(vni(sent.network))[..], &frame].concat();
                if let Some((byte, bit)) = sent.flip && byte < datagram.len() {
                    datagram[byte] ^= 1 << bit;
                }
                datagram.truncate(sent.cut.unwrap_or(usize::MAX));
                let source = if sent.sealed { Source::Sealed(vtep(sent.from)) } else { Source::Plain(vtep(sent.from)) };
                let mut copy = datagram.clone();
                let followed = runner.follow(&mut run, &with, &mut datagram, source, sent.tos, now);
                let walked = walker.from_wire(&without, &mut copy, source, sent.tos, now);
                prop_assert_eq!(followed.map(|(decapsulated, _)| decapsulated), walked, "{:?}", sent);
                prop_assert_eq!(datagram, copy, "{:?}", sent);
                prop_assert_eq!(runner.take_unlearned(), walker.take_unlearned());
            }
            for number in 1..=3 {
                let rows = |view: &View<()>| {
                    let mut rows = view.segments[&vni(number)].fdb.rows();
                    rows.sort_by_key(|row| row.mac);
                    rows
                };
                prop_assert_eq!(rows(&with), rows(&without));
            }
        }
    }

    #[test]
    fn segments_of_a_flow_follow_and_a_handshake_an_odd_one_or_another_sender_does_not() {
        let view = view();
        let (mut engine, mut run) = (Engine::new(1), None);
        let mut follows = |frame: &[u8], from: u8| {
            let mut datagram = [&vxlan::header(vni(1))[..], frame].concat();
            engine.follow(&mut run, &view, &mut datagram, Source::Plain(vtep(from)), 0, Now { ns: 5, s: 1 }).unwrap().1
        };
        for flow in [0, 1] {
            assert!(!follows(&segment(flow, 0, 100, 1), 1));
            assert!(follows(&segment(flow, 100, 100, 2), 1) && follows(&segment(flow, 200, 100, 3), 1));
            assert!(!follows(&segment(flow, 300, 99, 4), 1), "another length");
            assert!(!follows(&segment(flow, 399, 100, 5), 1) && follows(&segment(flow, 499, 100, 6), 1));
            assert!(!follows(&segment(flow, 599, 100, 7), 2), "another VTEP");
            assert!(!follows(&segment(flow + 4, 0, 100, 7), 2), "another port");
            let mut syn = segment(flow + 4, 100, 100, 8);
            let flags = if flow == 0 { 14 + 20 + 13 } else { 14 + 40 + 13 };
            syn[flags] |= SYN;
            assert!(!follows(&syn, 2) && !follows(&segment(flow + 4, 0, 100, 9), 2), "a handshake");
        }
    }
}
