//! The support archive: what was seen, as files, for whoever helps from afar.
//!
//! It holds no secret: nothing of the state directory goes in, and each text is searched for what could be one all the
//! same (`redact`). It does hold addresses and names, which are the operator's to give away: only root can read it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tonic::transport::Channel;
use weft_proto::limits;
use weft_proto::v1;
use weft_proto::v1::node_client::NodeClient;

use super::facts::Facts;
use super::report::{self, Report};
use crate::cli::client::answer;
use crate::cli::style::Style;
use crate::cli::view;

/// A file of the archive: its name and text.
pub(super) type Document = (String, String);

/// What the host's own programs say of it. One that is not there is left out, with the reason.
const COMMANDS: &[(&str, &[&str])] = &[
    ("uname", &["-a"]),
    ("ip", &["-details", "-statistics", "link", "show"]),
    ("ip", &["address", "show"]),
    ("ip", &["route", "show", "table", "all"]),
    ("ip", &["neigh", "show"]),
    ("nft", &["list", "ruleset"]),
    ("ss", &["-lntup"]),
    ("journalctl", &["--unit", "weft", "--lines", "2000", "--no-pager"]),
];

/// What the kernel says.
const KERNEL: &[&str] = &[
    "/proc/net/snmp",
    "/proc/net/snmp6",
    "/proc/net/netstat",
    "/proc/net/softnet_stat",
    "/proc/net/udp",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/netdev_max_backlog",
];

/// What the daemon says, in the form of the commands that show it. What it refuses is left out, with the reason.
pub(super) async fn documents(channel: Channel) -> Vec<Document> {
    let mut node = NodeClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES);
    let mut documents = Vec::new();
    let mut keep = |name: &str, text: Result<String>| {
        let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
        documents.push((format!("daemon/{name}.json"), text));
    };
    keep("status", answer(node.status(v1::StatusRequest {}).await).and_then(|s| json(&view::Status::from(s))));
    let members = answer(node.members(v1::MembersRequest {}).await);
    keep("members", members.and_then(|m| json(&m.members.into_iter().map(view::Member::from).collect::<Vec<_>>())));
    let networks = answer(node.list_networks(v1::ListNetworksRequest {}).await);
    keep("networks", networks.and_then(|n| json(&n.networks.into_iter().map(view::Network::from).collect::<Vec<_>>())));
    let entries = answer(node.fdb(v1::FdbRequest::default()).await);
    keep("fdb", entries.and_then(|e| json(&e.entries.into_iter().map(view::FdbEntry::from).collect::<Vec<_>>())));
    let neighbors = answer(node.neighbors(v1::NeighborsRequest::default()).await);
    let rows = |n: v1::NeighborsResponse| n.neighbors.into_iter().map(view::Neighbor::from).collect::<Vec<_>>();
    keep("neigh", neighbors.and_then(|n| json(&rows(n))));
    keep("stats", answer(node.stats(v1::StatsRequest {}).await).and_then(|s| json(&view::Stats::from(s))));
    keep("events", events(&mut node).await);
    documents
}

async fn events(node: &mut NodeClient<Channel>) -> Result<String> {
    let mut stream = answer(node.events(v1::EventsRequest { follow: false }).await)?;
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(view::Event::from(event));
    }
    json(&events)
}

fn json(document: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Writes the archive, which must not be there yet. Blocks.
pub(super) fn write(path: &Path, report: &Report<'_>, facts: &Facts, documents: Vec<Document>) -> Result<()> {
    let mut files = vec![
        ("report.txt".to_owned(), report::text(report.findings, Style::PLAIN)),
        ("report.json".to_owned(), json(report)?),
        ("facts.json".to_owned(), json(facts)?),
    ];
    files.extend(documents);
    files.extend(KERNEL.iter().map(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        (format!("kernel{path}"), text)
    }));
    files.extend(COMMANDS.iter().map(|(program, arguments)| {
        let name = format!("host/{program} {}.txt", arguments.join(" "));
        (name, said(program, arguments))
    }));
    let written = archive(path, &files);
    written.with_context(|| {
        format!("cannot write the archive {}: name a file that is not there yet, where there is room", path.display())
    })
}

fn archive(path: &Path, files: &[Document]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in files {
        let text = redact(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("weft-doctor/{name}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()
}

fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Err(error) => format!("cannot run {program}: {error}\n"),
    }
}

/// Takes out whatever could be a join token, a private key or key material: words that begin like a token, PEM blocks of
/// private keys, and hexadecimal digits for 32 bytes or more.
fn redact(text: &str) -> String {
    let (mut kept, mut in_key) = (String::with_capacity(text.len()), false);
    for line in text.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        if begins {
            kept.push_str("[private key]\n");
        }
        if !begins && !in_key {
            redact_words(line, &mut kept);
        }
        in_key = (in_key || begins) && !line.contains("-----END");
    }
    kept
}

fn redact_words(line: &str, kept: &mut String) {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !part_of_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let secret = word.starts_with("weft1.") || (word.len() >= 64 && word.chars().all(|c| c.is_ascii_hexdigit()));
        kept.push_str(if secret { "[secret]" } else { word });
        let other = behind.find(part_of_word).unwrap_or(behind.len());
        kept.push_str(&behind[..other]);
        rest = &behind[other..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_taken_out_and_nothing_else() {
        let hex = "0f".repeat(32);
        let text = format!(
            "joined with weft1.aa.bb.{hex}, at 10.1.2.3\nkey={hex};\n-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE \
             KEY-----\nid 0123456789abcdef ü\n"
        );
        let expected = "joined with [secret], at 10.1.2.3\nkey=[secret];\n[private key]\nid 0123456789abcdef ü\n";
        assert_eq!(redact(&text), expected);
        assert_eq!(redact("no end of line"), "no end of line");
    }

    #[test]
    fn the_archive_is_the_owner_s_alone_and_writes_over_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar.gz");
        archive(&path, &[("a.txt".to_owned(), "hello\n".to_owned())]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let file = std::fs::File::open(&path).unwrap();
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let names: Vec<_> = read.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["weft-doctor/a.txt"]);
        assert_eq!(archive(&path, &[]).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    }
}
