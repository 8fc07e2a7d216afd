//! The daemon's log: a line for each event on standard error, as text or as JSON.
//!
//! What happens too often is counted instead: whoever can make the daemon say something, from the wire or by its socket,
//! cannot fill a disk with it. The line after such a flood says how many were left out. `weft events` has them.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::args::LogFormat;
use super::progress::Aside;
use super::view::utc;

/// What is logged unless RUST_LOG says otherwise. The netlink parser warns of whatever a newer kernel adds.
const USUAL: &str = "info,netlink_packet_route=error";
/// So many lines of a kind are written in one window, and further ones counted.
const BURST: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// From here on what the process says of itself goes to standard error.
pub(super) fn begin(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    let coloured = format == LogFormat::Text && std::io::stderr().is_terminal();
    let lines = Lines { format, text: Format::default(), floods: Floods::default() };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Aside)
        .with_ansi(coloured)
        .event_format(lines)
        .init();
}

struct Lines {
    format: LogFormat,
    text: Format,
    floods: Floods<(Identifier, String)>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let word = fields.0.get("event").and_then(Value::as_str).unwrap_or_default();
        let kind = (event.metadata().callsite(), word.to_owned());
        let Some(left_out) = self.floods.pass(kind, Instant::now()) else { return Ok(()) };
        match self.format {
            LogFormat::Text => {
                if left_out > 0 {
                    writeln!(to, "{left_out} lines like the next one were left out")?;
                }
                self.text.format_event(context, to, event)
            }
            LogFormat::Json => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let mut line = fields.0;
                line.insert("time".into(), utc(u64::try_from(now).unwrap_or(u64::MAX)).into());
                line.insert("level".into(), event.metadata().level().as_str().into());
                line.insert("target".into(), event.metadata().target().into());
                if left_out > 0 {
                    line.insert("left_out".into(), left_out.into());
                }
                writeln!(to, "{}", Value::Object(line))
            }
        }
    }
}

/// What an event says, by the names of its fields; its text is `message`.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// How often each kind was said lately. A kind is a place in the program, and for events a word: there are not many.
struct Floods<K>(Mutex<HashMap<K, Window>>);

impl<K> Default for Floods<K> {
    fn default() -> Self {
        Floods(Mutex::default())
    }
}

struct Window {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl<K: Hash + Eq> Floods<K> {
    /// Whether a line of this kind is written; if so, how many were not since the last one.
    fn pass(&self, kind: K, now: Instant) -> Option<u64> {
        let mut floods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { since: now, lines: 0, left_out: 0 };
        let window = floods.entry(kind).or_insert(Window { ..fresh });
        let mut told = 0;
        if now.saturating_duration_since(window.since) >= WINDOW {
            told = std::mem::replace(window, fresh).left_out;
        }
        if window.lines < BURST {
            window.lines += 1;
            return Some(told);
        }
        window.left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    /// What is written of what `say` says.
    fn written(format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Kept {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(text)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (kept, lines) = (Kept::default(), Lines { format, text: Format::default(), floods: Floods::default() });
        let writer = kept.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).event_format(lines);
        tracing::subscriber::with_default(log.finish(), say);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        let lines = written(LogFormat::Json, || {
            tracing::info!(event = "member_dead", age = 7, address = %"192.0.2.1", "node2 died:\n\"silent\"");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["event"], &line["age"], &line["address"]),
            (&"member_dead".into(), &7.into(), &"192.0.2.1".into())
        );
        assert_eq!((&line["message"], &line["level"]), (&"node2 died:\n\"silent\"".into(), &"INFO".into()));
        assert!(line["time"].as_str().unwrap().ends_with('Z') && line["target"].as_str().unwrap().contains("log"));
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_and_hides_no_other() {
        let say = |kind: &str| tracing::info!(event = kind, "something");
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = written(format, || {
                (0..BURST + 30).for_each(|_| say("refused"));
                say("member_dead");
            });
            assert_eq!(lines.len() as u32, BURST + 1);
            assert!(lines.last().unwrap().contains("member_dead"), "{lines:?}");
        }
    }

    #[test]
    fn the_line_after_a_flood_says_how_many_were_left_out() {
        let (floods, start) = (Floods::default(), Instant::now());
        let passed = (0..BURST + 7).filter(|_| floods.pass("a", start).is_some()).count();
        assert_eq!(passed as u32, BURST);
        assert_eq!((floods.pass("a", start + WINDOW), floods.pass("a", start + WINDOW)), (Some(7), Some(0)));
    }
}
