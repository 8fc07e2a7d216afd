//! The screen: a head, the tables' names, the chosen table, and what keys do.

use std::sync::LazyLock;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Clear, Paragraph, Row, Table};
use unicode_width::UnicodeWidthStr;

use super::flows::Flows;
use super::model::Model;
use super::sheet::{self, heads, scaled};
use super::state::{State, Tab};
use crate::cli::print::span;
use crate::cli::style::{self, Tone};

/// The last column takes what room there is; another one is not wider than this.
const WIDEST: usize = 48;

const HELP: &str = "\
1-6, Tab, ← →   choose a table          < >     sort by another column
↑ ↓, PgUp PgDn  move                    r       the other way round
/               filter, Esc clears it   space   freeze, and go on
q, Ctrl-C       quit                    ?       this help

Flows are counted from a capture of headers, only while they are shown.
Any key closes this.";

/// Draws all of it. What does not fit is left out; nothing is too small.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, model: &Model, flows: &Flows) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [head, banner, tabs, body, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(header(model)), head);
    frame.render_widget(Paragraph::new(warning(state, model, flows)), banner);
    frame.render_widget(Paragraph::new(names(state)), tabs);
    table(frame, body, state, model, flows);
    frame.render_widget(Paragraph::new(keys(state)), foot);
    if state.help {
        help(frame);
    }
}

pub(super) fn header(model: &Model) -> Line<'static> {
    let Some(last) = &model.last else { return Line::from("asking the daemon …") };
    let (status, rates) = (&last.status, &model.rates);
    let bold = |text: String| Span::styled(text, Modifier::BOLD);
    let agreeing = format!("{}/{}", status.members_agreeing, status.members_compared);
    let equal = status.members_agreeing == status.members_compared;
    let volume =
        |way: usize| format!("{} ({}/s)", scaled(rates.bytes[way] * 8.0, "b/s"), scaled(rates.frames[way], ""));
    let dropped: f64 = rates.drops.values().sum();
    Line::from(vec![
        bold(status.node.clone()),
        Span::raw(format!(" {} {} weft {}", status.advertise, status.mode, status.version)),
        Span::raw(format!("   up {}", span(status.uptime_seconds))),
        Span::raw("   alive "),
        bold(status.members_alive.to_string()),
        Span::raw("   equal "),
        Span::styled(agreeing, style(if equal { Tone::Good } else { Tone::Doubt })),
        Span::raw("   out "),
        bold(volume(0)),
        Span::raw("  in "),
        bold(volume(1)),
        Span::raw("   dropped "),
        Span::styled(
            format!("{}/s", scaled(dropped, "")),
            style(if dropped > 0.0 { Tone::Doubt } else { Tone::Plain }),
        ),
    ])
}

/// What makes the table less than true: it is old, or not complete.
fn warning(state: &State, model: &Model, flows: &Flows) -> Line<'static> {
    let text = match &model.lost {
        Some(why) => format!("no answer: {why}"),
        None if state.frozen => "frozen: space goes on".to_owned(),
        None if state.tab == Tab::Flows && flows.uncounted > 0 => {
            format!("{} frames came too fast to be counted", flows.uncounted)
        }
        None => return Line::default(),
    };
    Line::styled(text, style(if model.lost.is_some() { Tone::Bad } else { Tone::Doubt }))
}

fn names(state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    for (n, tab) in Tab::ALL.into_iter().enumerate() {
        let chosen = if tab == state.tab { Modifier::REVERSED } else { Modifier::empty() };
        spans.push(Span::styled(format!(" {} {} ", n + 1, tab.name()), chosen));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &mut State, model: &Model, flows: &Flows) {
    let rows = sheet::rows(state, model, flows);
    state.fit = usize::from(area.height.saturating_sub(1)).max(1);
    state.above = state.above.min(rows.len().saturating_sub(state.fit));
    let shown = &rows[state.above..rows.len().min(state.above + state.fit)];
    let (heads, order) = (heads(state.tab), state.order());
    let titles: Vec<String> = heads
        .iter()
        .enumerate()
        .map(|(n, head)| match (n == order.column, order.falling) {
            (false, _) => head.name.to_owned(),
            (true, false) => format!("{}↑", head.name),
            (true, true) => format!("{}↓", head.name),
        })
        .collect();
    let width = |column: usize| {
        let widest = shown.iter().map(|row| row[column].text.width()).max().unwrap_or(0);
        widest.clamp(titles[column].width(), WIDEST.max(titles[column].width())) as u16
    };
    let widths = (0..heads.len()).map(|column| match column + 1 == heads.len() && !heads[column].number {
        true => Constraint::Min(width(column).min(20)),
        false => Constraint::Length(width(column)),
    });
    let aligned = |text: String, column: usize| {
        let alignment = if heads[column].number { Alignment::Right } else { Alignment::Left };
        Text::from(text).alignment(alignment)
    };
    let lines = shown.iter().map(|row| {
        let cells = row.iter().enumerate();
        Row::new(cells.map(|(n, cell)| Cell::new(aligned(cell.text.clone(), n)).style(style(cell.tone))))
    });
    let head = titles.iter().enumerate().map(|(n, title)| Cell::new(aligned(title.clone(), n)));
    let table = Table::new(lines, widths).header(Row::new(head).style(Modifier::BOLD)).column_spacing(2);
    frame.render_widget(table, area);
}

fn keys(state: &State) -> Line<'static> {
    if state.editing || !state.filter.is_empty() {
        let cursor = if state.editing { "▏" } else { "" };
        return Line::from(format!("/{}{cursor}   Enter keeps the filter, Esc clears it", state.filter));
    }
    Line::styled("1-6 table   < > sort   r reverse   / filter   space freeze   ? help   q quit", Modifier::DIM)
}

fn help(frame: &mut Frame<'_>) {
    let text = Text::from(HELP);
    let (width, height) = (text.width() as u16 + 4, text.height() as u16 + 2);
    let whole = frame.area();
    let area = Rect {
        x: whole.width.saturating_sub(width) / 2,
        y: whole.height.saturating_sub(height) / 2,
        width: width.min(whole.width),
        height: height.min(whole.height),
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(ratatui::widgets::Block::bordered().title(" weft top ")), area);
}

/// Whether the terminal is to have colours: asked once, and not for each cell.
static COLOURED: LazyLock<bool> = LazyLock::new(|| style::Style::of_stdout().coloured);

fn style(tone: Tone) -> Style {
    if !*COLOURED {
        return Style::default();
    }
    match tone {
        Tone::Plain => Style::default(),
        Tone::Faint => Style::default().add_modifier(Modifier::DIM),
        Tone::Good => Style::default().fg(Color::Green),
        Tone::Doubt => Style::default().fg(Color::Yellow),
        Tone::Bad => Style::default().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::{model, snapshot};
    use super::*;

    fn screen(width: u16, height: u16, state: &mut State, model: &Model) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, model, &Flows::default())).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn a_terminal_shows_the_node_and_its_peers() {
        let screen = screen(120, 8, &mut State::default(), &model());
        assert!(
            screen[0].starts_with("node1 192.0.2.1") && screen[0].contains("out 8.0 Mb/s (1.0 k/s)"),
            "{screen:#?}"
        );
        assert!(screen[2].starts_with(" 1 Nodes   2 Endpoints   3 Networks   4 Flows"), "{screen:#?}");
        assert!(screen[3].starts_with("NAME↑") && screen[5].contains("suspect"), "{screen:#?}");
        assert!(screen[7].contains("q quit"), "{screen:#?}");
    }

    #[test]
    fn no_size_and_no_name_is_too_much() {
        let mut hostile = snapshot(1, 1);
        hostile.members[1].name = format!("\u{1b}[2J\n{}{}", "宽".repeat(300), "e\u{301}".repeat(300));
        let mut model = model();
        model.take(hostile, std::time::Instant::now() + std::time::Duration::from_secs(99));
        for (width, height) in [(1, 1), (10, 2), (40, 10), (80, 24), (200, 50)] {
            for tab in Tab::ALL {
                let mut state = State { tab, help: width == 40, above: usize::MAX, ..State::default() };
                let text = screen(width, height, &mut state, &model).concat();
                assert!(!text.contains('\u{1b}') && !text.contains('\n'), "a name reaches the terminal as it is");
            }
        }
    }

    #[test]
    fn what_is_old_is_said() {
        let mut model = model();
        model.lose("cannot reach the daemon".into());
        assert!(screen(80, 5, &mut State::default(), &model)[1].starts_with("no answer: cannot reach the daemon"));
        let mut frozen = State { frozen: true, ..State::default() };
        assert!(screen(80, 5, &mut frozen, &super::super::model::tests::model())[1].starts_with("frozen"));
    }
}
