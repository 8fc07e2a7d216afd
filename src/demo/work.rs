//! What the demo does, step by step.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::DemoOptions;
use super::report::{NodeRow, Report};
use crate::cli::progress::Progress;
use crate::lab::{Daemon, Lab, LabSpec, overlay};
use crate::traffic::ping;
use crate::traffic::tcp::{self, TcpSpec};
use crate::traffic::udp::{self, FloodSpec};

/// The demo's network.
const NETWORK: &str = "demo";

/// So many unanswered pings are enough: thousands would take hours.
const GIVE_UP: usize = 20;

/// The kernel has room for 1,024 learnt neighbours in all namespaces together, other people's too.
const MANY_NEIGHBOURS: usize = 500;

/// How long an answer to a ping may take. Nothing is retried.
const ANSWER: Duration = Duration::from_secs(2);

/// The demo's running daemons, where the thread that cleans up finds them.
#[derive(Default)]
pub(super) struct Session {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    daemons: Vec<Daemon>,
    over: bool,
}

impl Session {
    /// Ends every daemon, and says if one did not end well. None can be added any more.
    pub(super) fn end(&self) -> Result<()> {
        let daemons = self.with(|state| {
            state.over = true;
            std::mem::take(&mut state.daemons)
        });
        let mut first = Ok(());
        for daemon in daemons {
            let pid = daemon.pid();
            let ended = daemon.stop().and_then(|status| {
                ensure!(status.success(), "the daemon with pid {pid} ended with {status}");
                Ok(())
            });
            first = first.and(ended);
        }
        first
    }

    fn add(&self, daemon: Daemon) -> Result<()> {
        self.with(|state| {
            // Dropping the daemon here ends it.
            ensure!(!state.over, "the demo is over");
            state.daemons.push(daemon);
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Shows everything and prints the tables; true if all of it passed.
pub(super) fn show(options: DemoOptions, session: &Session) -> Result<bool> {
    let nodes = options.nodes;
    let mut steps = Steps::default();
    steps.next(format!("making {nodes} hosts in network namespaces, joined by an Ethernet underlay"));
    let lab = Lab::build(LabSpec::new(u8::try_from(nodes)?))?;
    let binary = std::env::current_exe().context("cannot find this program's file")?;
    steps.next(format!("starting {nodes} daemons: weft up --bootstrap on the first, weft up --join … on the others"));
    for host in &lab.hosts {
        let daemon = session.with(|state| match state.daemons.first() {
            None => Daemon::bootstrap(&binary, host, &[]),
            Some(first) => Daemon::join(&binary, host, &lab.hosts[0], &first.token(&lab.hosts[0])?, &[]),
        })?;
        session.add(daemon)?;
    }
    let (plain, mode): (&[&str], _) = if options.plain { (&["--plain"], "plain") } else { (&[], "sealed") };
    let flags = plain.iter().map(|flag| format!(" {flag}")).collect::<String>();
    steps.next(format!("one {mode} network on all: weft network create {NETWORK}{flags}; weft attach {NETWORK} …"));
    session.with(|state| match state.over {
        false => overlay::share(&lab, &state.daemons, NETWORK, plain),
        true => bail!("the demo is over"),
    })?;
    let mut report = Report::default();
    ping_all(&lab, &mut report, &mut steps)?;
    let (from, to) = (&lab.hosts[0].containers[0], &lab.hosts[1].containers[0]);
    let seconds = options.seconds;
    steps.next(format!("TCP, one stream from {} to {}, {seconds} s", from.ip(), to.ip()));
    let spec = TcpSpec { duration: options.measure_for(), ..TcpSpec::default() };
    report.tcp = Some(tcp::stream(&from.netns, &to.netns, to.ip(), &spec)?);
    steps.next(format!("UDP, 64-byte datagrams as fast as they can be sent, {seconds} s"));
    let spec = FloodSpec { duration: options.measure_for(), ..FloodSpec::default() };
    report.udp = Some(udp::flood(&from.netns, &to.netns, to.ip(), &spec)?);
    steps.next("removing everything".into());
    let ended = session.end();
    report.daemons_ended_well = ended.is_ok();
    drop(steps);
    println!("{report}");
    ended?;
    Ok(report.passed())
}

fn ping_all(lab: &Lab, report: &mut Report, steps: &mut Steps) -> Result<()> {
    let nodes = lab.hosts.len();
    steps.next(format!("pinging all {} ordered pairs of containers, once each", nodes * (nodes - 1)));
    let (mut learnt, mut unanswered) = (0, 0);
    for from in &lab.hosts {
        let container = &from.containers[0];
        let mut row = NodeRow {
            name: from.name.clone(),
            underlay: from.address,
            container: container.ip(),
            ..NodeRow::default()
        };
        for to in lab.hosts.iter().filter(|to| to.address != from.address) {
            match ping::once(&container.netns, to.containers[0].ip(), ANSWER)? {
                Some(rtt) => row.rtts.push(rtt),
                None => {
                    row.unreached.push(to.name.clone());
                    unanswered += 1;
                }
            }
            ensure!(
                unanswered < GIVE_UP,
                "{unanswered} pings went unanswered, the last from {} to {}",
                from.name,
                to.name
            );
        }
        row.rtts.sort_unstable();
        report.nodes.push(row);
        // Both ends of each pair have learnt the other by now.
        learnt += 2 * (nodes - 1);
        if learnt > MANY_NEIGHBOURS {
            lab.forget_neighbours()?;
            learnt = 0;
        }
    }
    Ok(())
}

/// The step that is taken, told on standard error.
#[derive(Default)]
struct Steps {
    shown: Option<Progress>,
}

impl Steps {
    fn next(&mut self, line: String) {
        // The sign of life of the step before stands on the line that is written now.
        self.shown = None;
        eprintln!("demo: {line}");
        self.shown = Some(Progress::show("working"));
    }
}
