//! `weft top`: the node and its cluster, live, in a terminal.
//!
//! Each second what there is is asked of the daemon (`model`) and shown as one table of several (`sheet`); keys choose
//! which, in what order and which rows of it (`state`). `draw` puts it on the screen; `flows` counts what passes while
//! somebody looks at it. All but this file is without terminal, clock and daemon.

mod draw;
mod flows;
mod model;
mod once;
mod sheet;
mod state;

use std::future::pending;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Streaming;
use weft_proto::v1;

use self::flows::Flows;
use self::model::{Model, Wanted};
pub use self::state::Tab;
use self::state::{Outcome, State};
use super::args::Global;
use super::client::{Client, answer, connect};
use super::output;
use super::style::Style;

/// How long an answer may take: meanwhile no key is heard.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of each frame that say which flow it is of: the headers.
const HEADERS: u32 = 128;

/// `weft top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds from one look to the next
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,
    /// The table to begin with
    #[arg(short, long, value_enum, default_value_t)]
    pub table: Tab,
    /// Print one frame as text, after one interval, and end
    #[arg(long)]
    pub once: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "a number from 0.1 to 3600".to_owned())
}

/// Runs it until the user has seen enough.
pub(super) fn run(global: &Global, args: &TopArgs) -> Result<ExitCode> {
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if global.json {
        bail!("weft top prints no JSON: ask `weft --json status`, `members`, `stats` or `fdb`");
    }
    if !(terminal || args.once) {
        bail!("weft top is for a terminal: in a script, use --once, or ask `weft --json status`, `members` or `stats`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the client")?.block_on(async {
        // Before the screen is taken: an error is told as any other command's.
        let mut client = connect(&global.socket).await?;
        if args.once {
            let every = Duration::from_secs_f64(args.interval);
            output(&once::frame(&mut client, every, args.table, Style::of_stdout()).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let terminal = ratatui::try_init().context("cannot use this terminal")?;
        let every = Duration::from_secs_f64(args.interval);
        let done = Top::new(terminal, client, every, args.table).watch(&global.socket).await;
        ratatui::restore();
        done.map(|()| ExitCode::SUCCESS)
    })
}

struct Top {
    terminal: DefaultTerminal,
    /// `None` while the daemon does not answer.
    client: Option<Client>,
    every: Duration,
    state: State,
    model: Model,
    flows: Flows,
    /// While flows are looked at.
    frames: Option<Streaming<v1::CaptureBatch>>,
}

impl Top {
    fn new(terminal: DefaultTerminal, client: Client, every: Duration, tab: Tab) -> Top {
        let state = State { tab, ..State::default() };
        let (model, flows) = (Model::default(), Flows::default());
        Top { terminal, client: Some(client), every, state, model, flows, frames: None }
    }

    async fn watch(mut self, socket: &Path) -> Result<()> {
        let mut keys = keys();
        let mut ended = signal(SignalKind::terminate()).context("cannot watch for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot watch for signals")?;
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.terminal.draw(|frame| draw::draw(frame, &mut self.state, &self.model, &self.flows))?;
            let batch = async {
                match &mut self.frames {
                    Some(frames) => frames.message().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                _ = ended.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                key = keys.recv() => match key {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        let before = self.state.tab;
                        if self.state.press(key) == Outcome::Quit {
                            return Ok(());
                        }
                        if self.state.tab != before && !self.state.frozen {
                            self.look(socket).await;
                        }
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
                batch = batch => match batch {
                    Ok(Some(batch)) if self.state.frozen => drop(batch),
                    Ok(Some(batch)) => self.flows.take(&batch),
                    _ => self.frames = None,
                },
                _ = ticks.tick() => if !self.state.frozen { self.look(socket).await },
            }
        }
    }

    /// Asks the daemon, and connects again where it has been away.
    async fn look(&mut self, socket: &Path) {
        let wanted = Wanted::of(self.state.tab);
        let looked = async {
            if self.client.is_none() {
                self.client = Some(connect(socket).await?);
            }
            let client = self.client.as_mut().context("just connected")?;
            let snapshot = model::ask(client, wanted).await?;
            if self.state.tab == Tab::Flows && self.frames.is_none() {
                let request = v1::CaptureRequest { snap_len: HEADERS, ..v1::CaptureRequest::default() };
                self.frames = Some(answer(client.capture(request).await)?);
            }
            anyhow::Ok(snapshot)
        };
        let looked = timeout(PATIENCE, looked).await;
        match looked.unwrap_or_else(|_| Err(anyhow!("the daemon has been silent for {} s", PATIENCE.as_secs()))) {
            Ok(snapshot) => self.model.take(snapshot, Instant::now()),
            Err(error) => {
                (self.client, self.frames) = (None, None);
                self.model.lose(format!("{error:#}"));
            }
        }
        if self.state.tab == Tab::Flows {
            self.flows.turn(Instant::now());
        } else if self.frames.take().is_some() {
            // The daemon copies frames only for who looks at them.
            self.flows = Flows::default();
        }
    }
}

/// What is typed. The thread waits for the terminal and ends with the process.
fn keys() -> UnboundedReceiver<Event> {
    let (send, keys) = unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if send.send(event).is_err() {
                break;
            }
        }
    });
    keys
}
