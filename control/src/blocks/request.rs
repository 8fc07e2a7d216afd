//! The way of one endpoint to its addresses, step by step.
//!
//! The caller does what a [`Step`] says, hands the answers back, and asks for the next step, until it is
//! [`Step::Done`] or [`Step::Refused`]. In between other requests may go their way, and other nodes' questions be
//! judged.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use weft_proto::request::AskedAddress;

use super::{AddressError, Blocks, CLAIM_TIME, Claim, HAND_OVER, View};
use crate::id::NodeId;
use crate::ipam::{PoolError, is_host, to_bits};
use crate::space::{AssignError, family};

/// How long to wait where another node is ahead.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be done next for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The endpoint has these addresses. Their records go into the table before [`HAND_OVER`] is over.
    Done(Vec<IpNet>),
    /// Ask each of these nodes, at the same time, whether it minds that this one takes the block; then
    /// [`Blocks::claimed`].
    Claim {
        /// The block.
        block: IpNet,
        /// Whom to ask.
        ask: Vec<NodeId>,
    },
    /// Ask the owner of its block for this address; then [`Blocks::taken`].
    Take {
        /// Whom to ask.
        owner: NodeId,
        /// For what.
        address: IpAddr,
    },
    /// Wait: another node is ahead, and what it does will show.
    Pause(Duration),
    /// The endpoint gets nothing, and holds nothing.
    Refused(AddressError),
}

/// What a node answers to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// It agrees.
    Granted,
    /// The block is somebody's, or somebody with a better right claims it.
    Denied,
    /// It did not answer.
    Silent,
}

/// What an owner answers when it is asked for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeAnswer {
    /// It hands the address over.
    Granted,
    /// Somebody has it, named for the user; empty if the address is not, or no longer, the owner's to give.
    Denied(String),
    /// It did not answer.
    Silent,
}

/// An endpoint on its way to its addresses.
#[derive(Debug, Clone)]
pub struct Request {
    holder: String,
    wants: VecDeque<Want>,
    given: Vec<IpNet>,
    under_way: Option<UnderWay>,
    /// Blocks that were denied.
    pub(super) lost: BTreeSet<IpNet>,
    /// Addresses that were denied.
    pub(super) refused: BTreeSet<IpAddr>,
    /// Owners that did not answer.
    pub(super) silent: BTreeSet<NodeId>,
    pub(super) pauses: u32,
    error: Option<AddressError>,
}

#[derive(Debug, Clone, Copy)]
enum Want {
    This(IpNet),
    Any { v4: bool },
}

#[derive(Debug, Clone, Copy)]
enum UnderWay {
    Claim(IpNet),
    Take { owner: NodeId, address: IpAddr },
}

/// How a want is met.
pub(super) enum Way {
    Given(IpNet),
    Claim(IpNet),
    Take { owner: NodeId, address: IpAddr },
    Pause,
}

impl Blocks {
    /// Begins: `holder` asks for these addresses and, of each family that it does not ask for and the network has,
    /// for any.
    pub fn request(&self, holder: &str, asked: &[AskedAddress]) -> Result<Request, AddressError> {
        let asks = |v4: bool| asked.iter().any(|asked| asked.address.is_ipv4() == v4);
        let has = |v4: bool| self.grids.iter().any(|grid| grid.subnet().addr().is_ipv4() == v4);
        let any: Vec<_> = [true, false].into_iter().filter(|v4| has(*v4) && !asks(*v4)).collect();
        self.request_of(holder, asked, &any)
    }

    /// Begins: `holder` asks for these addresses, and for any of the families in `any`, of which `true` is IPv4.
    pub fn request_of(&self, holder: &str, asked: &[AskedAddress], any: &[bool]) -> Result<Request, AddressError> {
        let mut wants: VecDeque<Want> = VecDeque::new();
        let mut families = [false; 2];
        for asked in asked {
            let v4 = asked.address.is_ipv4();
            if std::mem::replace(&mut families[usize::from(v4)], true) {
                return Err(AssignError::TwoOfFamily(family(asked.address)).into());
            }
            wants.push_back(Want::This(self.check(*asked)?));
        }
        wants.extend(any.iter().map(|v4| Want::Any { v4: *v4 }));
        Ok(Request {
            holder: holder.to_owned(),
            wants,
            given: Vec::new(),
            under_way: None,
            lost: BTreeSet::new(),
            refused: BTreeSet::new(),
            silent: BTreeSet::new(),
            pauses: 0,
            error: None,
        })
    }

    /// What can be said of an address without knowing who holds what.
    fn check(&self, asked: AskedAddress) -> Result<IpNet, AddressError> {
        let address = asked.address;
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return Err(AssignError::NotUnicast(address).into());
        }
        let prefix = match self.grid_of(address) {
            Some(grid) => {
                let subnet = grid.subnet();
                if let Some(prefix) = asked.prefix.filter(|prefix| *prefix != subnet.prefix_len()) {
                    return Err(AssignError::Prefix { address, prefix, subnet }.into());
                }
                if !is_host(&subnet, address) {
                    return Err(AssignError::from(PoolError::NotHost { address, subnet }).into());
                }
                if grid.keeps(address) {
                    return Err(AddressError::Reserved(address));
                }
                subnet.prefix_len()
            }
            None if !self.grids.is_empty() => {
                let subnets: Vec<_> = self.grids.iter().map(|grid| grid.subnet().to_string()).collect();
                return Err(AssignError::Outside { address, subnets: subnets.join(", ") }.into());
            }
            None => {
                let example = if address.is_ipv4() { 24 } else { 64 };
                asked.prefix.ok_or(AssignError::NoPrefix { address, example })?
            }
        };
        Ok(IpNet::new(address, prefix).unwrap_or_else(|_| IpNet::from(address)))
    }

    /// What is to be done next.
    pub fn step(&mut self, now: Duration, view: &impl View, request: &mut Request) -> Step {
        loop {
            let way = match (request.error.take(), request.under_way) {
                (Some(error), _) => Err(error),
                (None, Some(UnderWay::Claim(block))) => match self.go_on_claiming(now, view, request, block) {
                    Ok(Some(step)) => return step,
                    Ok(None) => continue,
                    Err(error) => Err(error),
                },
                (None, Some(UnderWay::Take { owner, address })) => return Step::Take { owner, address },
                (None, None) => match request.wants.front().copied() {
                    Some(Want::This(address)) => self.way_to(now, view, request, address),
                    Some(Want::Any { v4 }) => self.way_to_any(now, view, request, v4),
                    None => return Step::Done(request.given.clone()),
                },
            };
            match way {
                Ok(Way::Given(address)) => self.give(request, address),
                Ok(Way::Claim(block)) => {
                    self.claims.insert(block, Claim { since: now, ..Claim::default() });
                    request.under_way = Some(UnderWay::Claim(block));
                }
                Ok(Way::Take { owner, address }) => {
                    self.taking.insert(address, now + HAND_OVER);
                    request.under_way = Some(UnderWay::Take { owner, address });
                }
                Ok(Way::Pause) => {
                    request.pauses += 1;
                    return Step::Pause(PAUSE);
                }
                Err(error) => {
                    self.abandon(request);
                    return Step::Refused(error);
                }
            }
        }
    }

    /// Takes in the answers to a claim. Who is not named here is asked again.
    pub fn claimed(&mut self, request: &Request, answers: impl IntoIterator<Item = (NodeId, ClaimAnswer)>) {
        let Some(UnderWay::Claim(block)) = request.under_way else { return };
        let Some(claim) = self.claims.get_mut(&block) else { return };
        for (node, answer) in answers {
            match answer {
                ClaimAnswer::Granted => {
                    claim.granted.insert(node);
                }
                ClaimAnswer::Denied => claim.lost = true,
                ClaimAnswer::Silent => claim.unanswered = true,
            }
        }
    }

    /// Takes in the answer of an owner.
    pub fn taken(&mut self, view: &impl View, request: &mut Request, answer: TakeAnswer) {
        let Some(UnderWay::Take { owner, address }) = request.under_way.take() else { return };
        self.taking.remove(&address);
        let this = request.wants.front().and_then(|want| match want {
            Want::This(asked) => Some(*asked),
            Want::Any { .. } => None,
        });
        match answer {
            // Where a conflict came to light meanwhile the table knows better than the owner.
            TakeAnswer::Granted if self.other_holder(view, address).is_none() => {
                let prefix = self.grid_of(address).map(|grid| grid.subnet().prefix_len());
                let any = prefix.and_then(|prefix| IpNet::new(address, prefix).ok());
                self.give(request, this.or(any).unwrap_or_else(|| address.into()));
            }
            TakeAnswer::Denied(holder) if this.is_some() && !holder.is_empty() => {
                request.error = Some(AddressError::HeldBy { address, node: view.name(owner), holder });
            }
            TakeAnswer::Granted | TakeAnswer::Denied(_) => {
                request.refused.insert(address);
            }
            TakeAnswer::Silent => {
                request.silent.insert(owner);
            }
        }
    }

    /// Ends a request that is given up: it holds nothing, and no claim of its goes on.
    pub fn abandon(&mut self, request: &mut Request) {
        match request.under_way.take() {
            Some(UnderWay::Claim(block)) => drop(self.claims.remove(&block)),
            Some(UnderWay::Take { address, .. }) => drop(self.taking.remove(&address)),
            None => {}
        }
        for given in request.given.drain(..) {
            self.held.remove(&given.addr());
            // It was never used: the search goes on as if it had not been given out.
            let own = self.block_of(given.addr()).and_then(|block| self.own.get_mut(&block));
            if let Some(own) = own.filter(|own| own.next.map(to_bits) == Some(to_bits(given.addr()).wrapping_add(1))) {
                own.next = Some(given.addr());
            }
        }
        request.wants.clear();
        if self.grids.is_empty() {
            self.give_up_loose();
        }
    }

    fn give(&mut self, request: &mut Request, address: IpNet) {
        self.held.insert(address.addr(), request.holder.clone());
        request.given.push(address);
        request.wants.pop_front();
        request.pauses = 0;
    }

    /// The next step of a claim; none if it is decided.
    fn go_on_claiming(
        &mut self,
        now: Duration,
        view: &impl View,
        request: &mut Request,
        block: IpNet,
    ) -> Result<Option<Step>, AddressError> {
        let claimed_by_other = self.owner(view, block).is_some();
        let me = self.me;
        let Some(claim) = self.claims.get_mut(&block).filter(|claim| !claim.lost && !claimed_by_other) else {
            self.claims.remove(&block);
            request.under_way = None;
            request.lost.insert(block);
            return Ok(None);
        };
        let ask: Vec<_> = view.reachable().filter(|node| *node != me && !claim.granted.contains(node)).collect();
        // A process that stood still may come back after others have stopped to keep to their agreement.
        if now >= claim.since + CLAIM_TIME {
            let node = ask.first().map_or_else(|| "this node".to_owned(), |node| view.name(*node));
            return Err(AddressError::Undecided { block, node });
        }
        if !ask.is_empty() {
            let pause = std::mem::take(&mut claim.unanswered);
            return Ok(Some(if pause { Step::Pause(PAUSE) } else { Step::Claim { block, ask } }));
        }
        self.claims.remove(&block);
        request.under_way = None;
        self.take_in(block);
        Ok(None)
    }
}
