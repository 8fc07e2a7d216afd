//! Where captured frames go: a file, standard output as a file, lines of text, lines of JSON.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use weft_proto::v1;

use super::line::describe;
use super::pcapng::{Link, Packet, Writer, flags};
use crate::cli::style::{Style, Tone};

/// What is to be opened once the daemon has agreed.
#[derive(Debug)]
pub(super) enum Open {
    File(PathBuf),
    Pipe,
    Lines,
    Json,
}

/// Where frames go, and what has gone there.
pub(super) struct Sink {
    form: Form,
    snap_len: u32,
    interfaces: Vec<v1::CaptureInterface>,
    peers: Vec<v1::CapturePeer>,
    /// Widths of the columns so far.
    widths: [usize; 4],
    last_ns: u64,
    /// Lost since the last frame.
    gap: u64,
    closed: bool,
    /// Frames written.
    pub(super) frames: u64,
    /// Frames lost on the way.
    pub(super) lost: u64,
}

enum Form {
    Pcapng(Writer<Box<dyn Write>>),
    Lines(Style),
    Json,
}

/// A frame as JSON.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    time: String,
    network: &'a str,
    vni: u32,
    endpoint: &'a str,
    way: &'static str,
    peer: Option<&'a str>,
    vtep: Option<&'a str>,
    dropped: Option<&'a str>,
    length: u32,
    text: String,
}

impl Open {
    /// Refuses what could not be written anyway.
    pub(super) fn check(path: Option<&Path>, json: bool) -> Result<Open> {
        match path {
            None if json => Ok(Open::Json),
            None => Ok(Open::Lines),
            Some(path) if path.as_os_str() == "-" => {
                if io::stdout().is_terminal() {
                    bail!("a capture file is no text for a terminal: give a file's name, or a pipe's reader after `|`");
                }
                Ok(Open::Pipe)
            }
            Some(path) => Ok(Open::File(path.to_owned())),
        }
    }

    /// Opens it. A file is its owner's alone: the inside of sealed networks stands in it.
    pub(super) fn sink(self, snap_len: u32) -> Result<Sink> {
        let form = match self {
            Open::Json => Form::Json,
            Open::Lines => Form::Lines(Style::of_stdout()),
            Open::Pipe => Form::Pcapng(begin(Box::new(BufWriter::new(io::stdout())), "standard output")?),
            Open::File(path) => {
                let shown = path.display().to_string();
                let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
                let file = file.with_context(|| format!("cannot write {shown}; choose another file with --write"))?;
                Form::Pcapng(begin(Box::new(BufWriter::new(file)), &shown)?)
            }
        };
        let (interfaces, peers, widths) = (Vec::new(), Vec::new(), [0; 4]);
        Ok(Sink { form, snap_len, interfaces, peers, widths, last_ns: 0, gap: 0, closed: false, frames: 0, lost: 0 })
    }
}

/// A reader of the pipe shall see at once that something is there.
fn begin(out: Box<dyn Write>, name: &str) -> Result<Writer<Box<dyn Write>>> {
    let begun = Writer::new(out).and_then(|mut writer| writer.flush().map(|()| writer));
    begun.with_context(|| format!("cannot write to {name}"))
}

impl Sink {
    /// Writes the frames of a batch, at most `most`, and says how many.
    pub(super) fn batch(&mut self, batch: &v1::CaptureBatch, most: u64) -> Result<u64> {
        self.lost += batch.lost;
        self.gap += batch.lost;
        self.peers.extend_from_slice(&batch.peers);
        let before = self.frames;
        match self.frames_of(batch, most) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.closed = true,
            done => done.context("cannot write what was captured")?,
        }
        Ok(self.frames - before)
    }

    /// Whoever read has seen enough.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn frames_of(&mut self, batch: &v1::CaptureBatch, most: u64) -> io::Result<()> {
        for interface in &batch.interfaces {
            if let Form::Pcapng(writer) = &mut self.form {
                let link = match interface.kind() {
                    v1::CaptureKind::Underlay => Link::Private,
                    _ => Link::Ethernet,
                };
                writer.interface(link, self.snap_len, &name(interface), &description(interface))?;
            }
            self.interfaces.push(interface.clone());
        }
        let mut data = batch.data.as_slice();
        for frame in batch.frames.iter().take(most.try_into().unwrap_or(usize::MAX)) {
            // A daemon that says less than it says is not this one's.
            let Some((bytes, rest)) = data.split_at_checked(frame.kept as usize) else { break };
            data = rest;
            self.frame(frame, bytes)?;
            self.frames += 1;
        }
        match &mut self.form {
            Form::Pcapng(writer) => writer.flush(),
            Form::Lines { .. } | Form::Json => io::stdout().flush(),
        }
    }

    fn frame(&mut self, frame: &v1::CapturedFrame, bytes: &[u8]) -> io::Result<()> {
        let Some(interface) = self.interfaces.get(frame.interface as usize) else { return Ok(()) };
        let peer = frame.peer.and_then(|number| self.peers.get(number as usize));
        self.last_ns = frame.time_ns;
        let text = || match interface.kind() {
            v1::CaptureKind::Underlay => format!("{} bytes, unopened", frame.length),
            _ => describe(bytes, frame.length),
        };
        match &mut self.form {
            Form::Pcapng(writer) => {
                let comment = comment(frame, interface, peer);
                let lost = std::mem::take(&mut self.gap);
                writer.packet(&Packet {
                    interface: frame.interface,
                    time_ns: frame.time_ns,
                    length: frame.length,
                    bytes,
                    flags: packet_flags(frame),
                    lost,
                    comment: &comment,
                })
            }
            Form::Json => {
                let frame = Frame {
                    time: moment(frame.time_ns).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default(),
                    network: &interface.network,
                    vni: frame.vni,
                    endpoint: &interface.endpoint,
                    way: way(frame),
                    peer: peer.map(|peer| peer.name.as_str()),
                    vtep: peer.map(|peer| peer.address.as_str()).filter(|address| !address.is_empty()),
                    dropped: Some(frame.dropped.as_str()).filter(|reason| !reason.is_empty()),
                    length: frame.length,
                    text: text(),
                };
                let line = serde_json::to_string(&frame)? + "\n";
                io::stdout().write_all(line.as_bytes())
            }
            Form::Lines(style) => {
                let endpoint = interface.endpoint.get(..8).unwrap_or(&interface.endpoint);
                let far = peer.map_or("-", |peer| peer.name.as_str());
                let shown = [way(frame), &name_of_network(interface, frame.vni), endpoint, far].map(str::to_owned);
                for (width, word) in self.widths.iter_mut().zip(&shown) {
                    *width = word.chars().count().max(*width);
                }
                let columns = shown.iter().zip(self.widths).map(|(word, width)| format!("{word:width$}  "));
                let clock = moment(frame.time_ns).and_then(|at| {
                    at.format(format_description!("[hour]:[minute]:[second].[subsecond digits:6]")).ok()
                });
                let dropped = match frame.dropped.as_str() {
                    "" => String::new(),
                    reason => style.paint(&format!("DROPPED {reason}:"), Tone::Bad) + " ",
                };
                let line = format!(
                    "{}  {}{dropped}{}{}\n",
                    style.paint(&clock.unwrap_or_default(), Tone::Faint),
                    columns.collect::<String>(),
                    text(),
                    later(frame)
                );
                io::stdout().write_all(line.as_bytes())
            }
        }
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<Sink> {
        if let Form::Pcapng(writer) = std::mem::replace(&mut self.form, Form::Json)
            && let Err(error) = writer.finish(self.last_ns, self.frames, self.lost)
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(error).context("cannot write the end of the capture");
        }
        Ok(self)
    }
}

fn moment(time_ns: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(time_ns.into()).ok()
}

fn way(frame: &v1::CapturedFrame) -> &'static str {
    if frame.way() == v1::CaptureWay::Out { "out" } else { "in" }
}

fn packet_flags(frame: &v1::CapturedFrame) -> u32 {
    let way = if frame.way() == v1::CaptureWay::Out { flags::OUTBOUND } else { flags::INBOUND };
    let unfinished = if frame.unfinished { flags::CHECKSUM_NOT_READY } else { 0 };
    way | unfinished | if frame.cut > 0 { flags::SEGMENTED_LATER } else { 0 }
}

fn name_of_network(interface: &v1::CaptureInterface, vni: u32) -> String {
    match interface.kind() {
        v1::CaptureKind::Underlay => "underlay".to_owned(),
        v1::CaptureKind::Elsewhere => format!("VNI {vni}"),
        _ => interface.network.clone(),
    }
}

fn name(interface: &v1::CaptureInterface) -> String {
    match interface.kind() {
        v1::CaptureKind::Underlay => "underlay".to_owned(),
        v1::CaptureKind::Elsewhere => "elsewhere".to_owned(),
        _ if interface.endpoint.is_empty() => interface.network.clone(),
        _ => format!("{}/{}", interface.network, interface.endpoint),
    }
}

fn description(interface: &v1::CaptureInterface) -> String {
    let v1::CaptureInterface { network, vni, endpoint, ifname, netns, .. } = interface;
    match interface.kind() {
        v1::CaptureKind::Underlay => "UDP payload of datagrams that were dropped unopened".to_owned(),
        v1::CaptureKind::Elsewhere => "frames of networks that this node does not have".to_owned(),
        _ if endpoint.is_empty() => format!("network {network}, VNI {vni}: of several endpoints, or of none"),
        _ => format!("network {network}, VNI {vni}, endpoint {endpoint}: {ifname} in {netns}"),
    }
}

/// What is known of a frame, for whoever reads the file.
fn comment(frame: &v1::CapturedFrame, interface: &v1::CaptureInterface, peer: Option<&v1::CapturePeer>) -> String {
    let mut words = way(frame).to_owned();
    if let Some(peer) = peer {
        words += if frame.way() == v1::CaptureWay::Out { " to " } else { " from " };
        words += &peer.name;
    }
    if !interface.network.is_empty() {
        words += &format!("; network {}", interface.network);
    }
    if frame.vni > 0 {
        words += &format!("; VNI {}", frame.vni);
    }
    if !frame.dropped.is_empty() {
        words += &format!("; dropped: {}", frame.dropped);
    }
    words + &later(frame)
}

/// What is still to be done with a frame.
fn later(frame: &v1::CapturedFrame) -> String {
    let cut =
        if frame.cut > 0 { format!("; super-frame, cut into {} bytes of payload", frame.cut) } else { String::new() };
    cut + if frame.unfinished { "; checksum unfinished" } else { "" }
}
