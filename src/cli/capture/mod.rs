//! `weft capture`: frames as they are inside, to a file for Wireshark or to people's eyes.
//!
//! Batches of the daemon enter; a capture file ([`pcapng`]) leaves, or a line for each frame ([`mod@line`]). It ends at a
//! count, after a time, at a signal, or when nobody reads any more; each time what was written is whole.

pub mod line;
pub mod pcapng;
mod sink;

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use weft_proto::v1;
use weft_vtep::capture::filter;

use self::sink::{Open, Sink};
use super::client::{Client, answer};

/// How long frames may be on their way from a worker to here.
const LAST: Duration = Duration::from_millis(150);

/// `weft capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The network [default: all], then a filter as tcpdump takes it: host, net, port, portrange, tcp, udp, icmp, icmp6,
    /// arp, ip, ip6, ether host, broadcast, multicast, less, greater, with src, dst, and, or, not and parentheses
    #[arg(value_name = "[NETWORK] [FILTER]")]
    pub words: Vec<String>,
    /// The network, where its name is a word that a filter could begin with
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Only what this endpoint of this node sends and gets
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Only what is dropped, with the reason
    #[arg(long)]
    pub drops: bool,
    /// Write a pcapng file; - is standard output, as in `weft capture -w - | tshark -r -` [default: a line for each frame]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Keep so many bytes of each frame [default: all]
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub snap_len: Option<u32>,
    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub seconds: Option<u64>,
}

impl CaptureArgs {
    /// The network, and the filter.
    fn subject(&self) -> (Option<String>, String) {
        let mut words = self.words.as_slice();
        let mut network = self.network.clone();
        if let ([first, rest @ ..], None) = (words, &network)
            && !filter::begins(first)
        {
            (network, words) = (Some(first.clone()), rest);
        }
        (network, words.join(" "))
    }
}

/// Shows frames until it is enough.
pub(super) async fn run(client: &mut Client, args: CaptureArgs, json: bool) -> Result<()> {
    let (network, filter) = args.subject();
    let open = Open::check(args.write.as_deref(), json)?;
    let request = v1::CaptureRequest {
        network,
        endpoint: args.endpoint,
        drops: args.drops,
        filter,
        snap_len: args.snap_len.unwrap_or(0),
    };
    // From here on a signal ends the capture and not the process.
    let (mut interrupted, mut ended) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut batches = answer(client.capture(request).await)?;
    // Not earlier: a refused command leaves an old file as it is.
    let mut sink = open.sink(args.snap_len.unwrap_or(0))?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut deadline = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut told = false;
    let broken = loop {
        let over = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let batch = tokio::select! {
            // What was seen before the signal is still on its way. A second one does not wait for it.
            _ = interrupted.recv() => {
                if told {
                    break None;
                }
                (told, deadline) = (true, Some(Instant::now() + LAST));
                continue;
            }
            _ = ended.recv() => break None,
            () = over => break None,
            batch = batches.message() => batch,
        };
        match batch {
            Ok(Some(batch)) => left -= sink.batch(&batch, left)?,
            Ok(None) => break Some(anyhow!("the daemon has ended the capture; what came before is whole")),
            Err(status) => break Some(anyhow!("{}; what came before is whole", status.message())),
        }
        if left == 0 || sink.is_closed() {
            break None;
        }
    };
    let Sink { frames, lost, .. } = sink.finish()?;
    eprintln!("{frames} frames, {lost} lost because they came faster than they were fetched");
    broken.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_network_unless_a_filter_begins_with_it() {
        let subject = |words: &[&str], network: Option<&str>| {
            let args = CaptureArgs {
                words: words.iter().map(|word| (*word).to_owned()).collect(),
                network: network.map(str::to_owned),
                endpoint: None,
                drops: false,
                write: None,
                snap_len: None,
                count: None,
                seconds: None,
            };
            let (network, filter) = args.subject();
            (network.unwrap_or_default(), filter)
        };
        let is = |network: &str, filter: &str| (network.to_owned(), filter.to_owned());
        assert_eq!(subject(&[], None), is("", ""));
        assert_eq!(subject(&["blue"], None), is("blue", ""));
        assert_eq!(subject(&["blue", "tcp", "port", "80"], None), is("blue", "tcp port 80"));
        assert_eq!(subject(&["tcp", "port", "80"], None), is("", "tcp port 80"));
        assert_eq!(subject(&["(tcp or udp) and port 80"], None), is("", "(tcp or udp) and port 80"));
        assert_eq!(subject(&["udp"], Some("tcp")), is("tcp", "udp"));
    }
}
