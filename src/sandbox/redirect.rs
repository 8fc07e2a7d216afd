//! Turning aside what a sandbox sends to its name server.
//!
//! In: a sandbox, the address that its programs ask, the port that is to be asked instead. Out: a value; the rules are in
//! force for as long as it lives, and not a moment longer, however its process ends.
//!
//! That is what `NFT_TABLE_F_OWNER` is for (Linux 5.12): the kernel removes such a table when the netlink socket that made
//! it is closed, and lets nobody else change it. So a daemon that is killed leaves no rule behind which leads to a port
//! where nobody listens: the engine's own resolver answers again. The program `nft` cannot give that, because it ends at
//! once, so the few messages are put together here, as the kernel's `include/uapi/linux/netfilter/nf_tables.h` has them.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Netns, NetnsError};

/// The name of the table. The engine's programs flush only what they made.
const TABLE: &[u8] = b"weft-names\0";
const CHAIN: &[u8] = b"output\0";

/// Before `NF_IP_PRI_NAT_DST` (-100), where the engine turns the same packets aside to its own resolver: of several chains
/// that translate a connection the first is the only one.
const PRIORITY: i32 = -101;

/// The kernel answers at once.
const ANSWER: Duration = Duration::from_secs(5);

/// Rules in a sandbox. They go with this value, and with its process. The sandbox's namespace lives as long.
#[derive(Debug)]
pub struct Redirect {
    _owner: Socket,
}

impl Redirect {
    /// Leads what is sent in the sandbox to `from`, over UDP and TCP, to port `to` of the same address. What bears `mark`
    /// goes where it is sent: so the resolver asks the engine's own.
    pub fn set(netns: &Netns, from: SocketAddrV4, to: u16, mark: u32) -> Result<io::Result<Redirect>, NetnsError> {
        netns.run(|| {
            let socket = Socket::new(Domain::from(nix::libc::AF_NETLINK), Type::RAW, Some(Protocol::from(NETFILTER)))?;
            socket.set_read_timeout(Some(ANSWER))?;
            let (batch, messages) = batch(from, to, mark);
            send(socket.as_raw_fd(), &batch, MsgFlags::empty())?;
            (0..messages).try_for_each(|_| confirmed(&socket))?;
            Ok(Redirect { _owner: socket })
        })
    }
}

/// `NETLINK_NETFILTER`.
const NETFILTER: i32 = 12;
const AF_INET: u8 = 2;
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES << 8;
const NEW_CHAIN: u16 = NEW_TABLE + 3;
const NEW_RULE: u16 = NEW_TABLE + 6;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE_AND_APPEND: u16 = 0x400 | 0x800;
const NESTED: u16 = 0x8000;

/// Reads one acknowledgement. A batch that is refused is refused as a whole.
fn confirmed(socket: &Socket) -> io::Result<()> {
    const ERROR: u16 = 2;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, rest) = answer[..length].split_first_chunk::<16>().ok_or_else(malformed)?;
    let code = i32::from_ne_bytes(*rest.first_chunk().ok_or_else(malformed)?);
    match (u16::from_ne_bytes([head[4], head[5]]), code) {
        (ERROR, 0) => Ok(()),
        (ERROR, code) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(malformed()),
    }
}

/// The messages, and how many of them are acknowledged.
fn batch(from: SocketAddrV4, to: u16, mark: u32) -> (Vec<u8>, usize) {
    const OWNER: u32 = 2;
    const LOCAL_OUT: u32 = 3;
    let (udp, tcp) = (17, 6);
    let table = [attribute(1, TABLE), number(2, OWNER)].concat();
    let hook = nested(4, &[number(1, LOCAL_OUT), attribute(2, &PRIORITY.to_be_bytes())]);
    let chain = [attribute(1, TABLE), attribute(3, CHAIN), hook, attribute(7, b"nat\0")].concat();
    let rule = |protocol| {
        let expressions = nested(4, &expressions(protocol, from, to, mark));
        [attribute(1, TABLE), attribute(2, CHAIN), expressions].concat()
    };
    let made = REQUEST | ACKNOWLEDGE | CREATE_AND_APPEND;
    let messages = [
        message(BATCH_BEGIN, REQUEST, 0, NFTABLES, &[]),
        message(NEW_TABLE, made, AF_INET, 0, &table),
        message(NEW_CHAIN, made, AF_INET, 0, &chain),
        message(NEW_RULE, made, AF_INET, 0, &rule(udp)),
        message(NEW_RULE, made, AF_INET, 0, &rule(tcp)),
        message(BATCH_END, REQUEST, 0, NFTABLES, &[]),
    ];
    (messages.concat(), messages.len() - 2)
}

/// `ip daddr FROM meta l4proto PROTOCOL th dport PORT meta mark != MARK dnat to FROM:TO`.
fn expressions(protocol: u8, from: SocketAddrV4, to: u16, mark: u32) -> [Vec<u8>; 10] {
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    const L4PROTO: u32 = 16;
    const MARK: u32 = 3;
    const EQUAL: u32 = 0;
    const DIFFERENT: u32 = 1;
    // Offset of the destination in an IPv4 header; of the port in UDP's and TCP's.
    let address = from.ip().octets();
    [
        payload(NETWORK, 16, 4),
        compare(EQUAL, &address),
        meta(L4PROTO),
        compare(EQUAL, &[protocol]),
        payload(TRANSPORT, 2, 2),
        compare(EQUAL, &from.port().to_be_bytes()),
        meta(MARK),
        compare(DIFFERENT, &mark.to_ne_bytes()),
        [immediate(1, &address), immediate(2, &to.to_be_bytes())].concat(),
        // Destination, IPv4, the address in register 1, the port in register 2.
        expression(b"nat\0", &[number(1, 1), number(2, AF_INET.into()), number(3, 1), number(5, 2)]),
    ]
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression(b"payload\0", &[number(1, 1), number(2, base), number(3, offset), number(4, length)])
}

fn meta(key: u32) -> Vec<u8> {
    expression(b"meta\0", &[number(1, 1), number(2, key)])
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression(b"cmp\0", &[number(1, 1), number(2, how), nested(3, &[attribute(1, value)])])
}

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    expression(b"immediate\0", &[number(1, register), nested(2, &[attribute(1, value)])])
}

fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[attribute(1, name), nested(2, data)])
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn nested(kind: u16, inner: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &inner.concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = (20 + attributes.len()) as u32;
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    let [high, low] = resource.to_be_bytes();
    [&head[..], &[family, 0, high, low], attributes].concat()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);
    const MARK: u32 = 0x7765_6674;

    #[test]
    fn what_is_asked_is_turned_aside_for_as_long_as_the_value_lives() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: needs to be root");
            return;
        }
        let netns = Netns::anonymous().unwrap();
        super::super::devices::up(&netns, "lo").unwrap();
        let bind = |port| netns.run(|| UdpSocket::bind((*SERVER.ip(), port)).unwrap()).unwrap();
        let (theirs, ours) = (bind(53), bind(0));
        let arrived = |mark: u32| {
            netns
                .run(|| {
                    let asking = Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap());
                    asking.set_mark(mark).unwrap();
                    asking.send_to(b"?", &std::net::SocketAddr::from(SERVER).into()).unwrap();
                })
                .unwrap();
            let heard = |socket: &UdpSocket| {
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                socket.recv(&mut [0; 8]).is_ok()
            };
            (heard(&ours), heard(&theirs))
        };
        assert_eq!(arrived(0), (false, true));
        let to = ours.local_addr().unwrap().port();
        let redirect = Redirect::set(&netns, SERVER, to, MARK).unwrap().unwrap();
        assert_eq!(arrived(0), (true, false));
        assert_eq!(arrived(MARK), (false, true), "the resolver itself is not led back to itself");
        drop(redirect);
        assert_eq!(arrived(0), (false, true));
    }
}
